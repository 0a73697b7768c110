"""The command line: wires the command modules together and turns errors into one line and an exit code.

Exit codes: 0 ok, 1 ran and says no (or a dependency is down), 2 bad usage or input, 130 interrupted.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from tidemark.errors import InputError, TidemarkError

EXIT_OK, EXIT_NO, EXIT_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130
FIRST_PYTHON = (3, 11)
UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # Typer carries its own copy of click; this is its UsageError

# name of the command → module that defines `app` (a group) or a function of the same name
GROUPS: dict[str, str] = {
    "data": "tidemark.cli.data",
    "models": "tidemark.cli.models",
    "risk": "tidemark.cli.risk",
    "research": "tidemark.cli.research",
}
COMMANDS: dict[str, str] = {
    "doctor": "tidemark.cli.doctor",
    "demo": "tidemark.cli.demo",
    "run": "tidemark.cli.run",
    "backtest": "tidemark.cli.backtest",
    "report": "tidemark.cli.report",
    "invoke": "tidemark.cli.invoke",
    "bench": "tidemark.cli.bench",
    "features": "tidemark.cli.features",
}


def build_app(argv: Sequence[str]) -> typer.Typer:
    """The Typer app. Only the module of the named command is imported, unless help for all is asked for."""
    app = typer.Typer(
        name="tidemark",
        help="Level-2 books in; features, predictions, risk-checked orders, fills and reports out.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    named = next((word for word in argv if not word.startswith("-")), None)
    for name, module in {**GROUPS, **COMMANDS}.items():
        if named in (name, None) or named not in {**GROUPS, **COMMANDS}:
            loaded = importlib.import_module(module)
            if name in GROUPS or hasattr(loaded, "app"):
                app.add_typer(loaded.app, name=name)
            else:
                app.command(name)(getattr(loaded, name))
    return app


def _root(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.")) -> None:
    if debug:
        os.environ["TIDEMARK_DEBUG"] = "1"


def run(argv: Sequence[str]) -> int:
    """Run one command line (without the program's name) and return its exit code."""
    try:
        command = typer.main.get_command(build_app(argv))
        result = command.main(args=list(argv), prog_name="tidemark", standalone_mode=False)
    except typer.Exit as stop:
        return int(stop.exit_code)
    except UsageError as error:
        text = getattr(error, "format_message", error.__str__)()
        return _say(f"{text} (see `tidemark {' '.join(_command_words(argv))} --help`)", EXIT_INPUT)
    except typer.Abort:
        return _say("interrupted", EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        return _say("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; nothing is wrong
        return EXIT_OK
    except InputError as error:
        return _raise_or_say(error, EXIT_INPUT)
    except (TidemarkError, OSError) as error:
        return _raise_or_say(error, EXIT_NO)
    return result if isinstance(result, int) else EXIT_OK


def main() -> None:
    """Entry point of the `tidemark` program."""
    if sys.version_info[:2] < FIRST_PYTHON:
        sys.exit(_say(f"python: version: got {sys.version.split()[0]}; expected 3.11 or newer", EXIT_INPUT))
    sys.exit(run(sys.argv[1:]))


def _command_words(argv: Sequence[str]) -> list[str]:
    words = [word for word in argv if not word.startswith("-") and not Path(word).suffix]
    return words[:2] if words and words[0] in GROUPS else words[:1]


def _raise_or_say(error: Exception, code: int) -> int:
    if os.environ.get("TIDEMARK_DEBUG") == "1":
        raise error
    return _say(str(error), code)


def _say(text: str, code: int) -> int:
    for line in text.splitlines() or [text]:
        print(f"error: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
