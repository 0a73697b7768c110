# Thin: each target calls the CLI or a tool. `make setup` makes everything the others need, in .venv and .tidemark only.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
EXTRAS ?= dev
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(EXTRAS)
PYTEST_WORKERS ?= 2

.PHONY: setup demo test lint bench synth clean

setup: $(READY)
	@$(BIN)/python cdk/assembly.py dev

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else "error: python: version: got %d.%d; expected 3.11 or newer; set PYTHON=/path/to/python3.11" % v)'
	@echo "setup: virtual environment and locked packages into $(VENV) (a few minutes, about 2.3 GB)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c requirements.lock -e '.[$(EXTRAS)]'
	@$(BIN)/python -m tidemark.local.warmup
	@touch $(READY)

demo: setup
	@$(BIN)/tidemark demo

test: setup lint
	@base=$$(mktemp -d -t tidemark-test.XXXXXX) && trap 'rm -rf "$$base"' EXIT && \
	  $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile -q -ra --basetemp="$$base/t"

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup
	@$(BIN)/tidemark bench

synth: setup
	@$(BIN)/python cdk/app.py --stage all --out .tidemark/cdk.out

clean:
	@rm -rf .venv .tidemark runs
