"""`tidemark demo`: simulate, train, run, report. What `make demo` calls."""

import time
from pathlib import Path

import typer

TRAIN_SESSIONS, TRAIN_MINUTES, TRAIN_SEED = 8, 10, 11
REPLAY_MINUTES, REPLAY_SEED = 10, 4_711  # another seed: none of the replayed session is in the training days
REPLAY_DATE = "2026-06-01"
SYMBOLS = "ES,NQ,YM,ZN,DX"
RATE = 1.0


def demo(
    speed: str = typer.Option("10", help="As in `tidemark run`."),
    port: int = typer.Option(8080, min=1, max=65_535, help="Port of the live page; the next free one is taken and named."),
    out: Path | None = typer.Option(None, help="Folder of the run; default runs/demo-TIME."),
) -> int:
    """A whole session on simulated books with a planted edge: training days, model, replay with the live page, report."""
    from tidemark.cli.data import simulate_data
    from tidemark.cli.models import train_lob_command
    from tidemark.cli.run import run

    out = out or Path("runs") / f"demo-{time.strftime('%Y%m%d-%H%M%S')}"
    work = out.parent / f"{out.name}-data"
    print(f"1/3 simulating {TRAIN_SESSIONS} training days and the session to replay", flush=True)
    for name, sessions, minutes, seed, first in (
        ("training", TRAIN_SESSIONS, TRAIN_MINUTES, TRAIN_SEED, None),
        ("session", 1, REPLAY_MINUTES, REPLAY_SEED, REPLAY_DATE),
    ):
        simulate_data(
            out=work / name, market="planted", symbols=SYMBOLS, minutes=minutes, sessions=sessions, seed=seed, rate=RATE, first_date=first
        )
    print("2/3 training the book model beside its baselines", flush=True)
    train_lob_command(data=work / "training", out=work / "model", config="demo", seed=0, symbols=None, as_json=False)
    print("3/3 replaying the session through the whole line", flush=True)
    return run(replay=work / "session", out=out, model=work / "model", speed=speed, port=port, seed=7, sample=1, config=None, as_json=False)
