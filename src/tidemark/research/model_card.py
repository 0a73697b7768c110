"""A model's card: what it is for, what it was trained on, what it can and cannot do, in its own measured figures."""

from typing import Any

from tidemark.models.mlplob import parameter_count
from tidemark.models.training import Trained
from tidemark.research.evaluation import Claim, Interval, Verdict
from tidemark.research.lob_evaluation import LobEvaluation
from tidemark.units import NS_PER_S

_SINGLE_DAY = (
    "The data are one session: the earlier 60 % of its time trained and validated, the later 40 % tested, labels purged at both cuts. "
    "That is a benchmark on one day, not evidence; intervals are over five-minute blocks and there is no verdict."
)
_SESSIONS = "Training, validation and test are different sessions in that order; labels that reach into a later part are dropped."


def model_card(trained: Trained, evaluation: LobEvaluation, data_manifest: dict[str, Any]) -> str:
    """The card as Markdown."""
    config, split = trained.config, trained.split
    horizon_s = config.labels.horizons[config.labels.primary_i] / NS_PER_S if config.labels.unit == "ns" else None
    horizon = f"{horizon_s:g} s" if horizon_s is not None else f"{config.labels.horizons[config.labels.primary_i]} depth events"
    rows = f"{len(split.train):,} training, {len(split.valid):,} validation and {len(split.test):,} test rows"
    evidence = trained.calibration.evidence_z[config.labels.primary_i]
    switched = "on" if trained.calibration.horizons[config.labels.primary_i].odd > 0 else "off: the model claims no direction"
    lines = [
        f"# Book model `lob`, config `{config.name}`, seed {config.seed}",
        "",
        f"**Purpose.** P(down), P(flat), P(up) of the mid's mean over the next {horizon}, from {config.net.window_rows} rows of 48 book "
        "features (one each 250 ms), and the chance of a bracket entered one latency later. Input for signals; it places no order.",
        "",
        f"**Form.** Axis-separable MLP, {parameter_count(trained.nets[0]):,} parameters, {len(trained.nets)} member(s), symmetric under "
        "swapping bids and asks.",
        "",
        f"**Data.** {data_manifest.get('source', 'unknown source')}; symbols {', '.join(trained.windows.symbols)}; "
        f"{len(trained.windows.sessions)} session(s); {rows}. {_SESSIONS if split.by == 'session' else _SINGLE_DAY}",
        "",
        f"**Direction.** Evidence on the validation part {evidence:.1f} standard errors; the direction is {switched}.",
        "",
        "## Test part",
        "",
        _figures(evaluation),
        "",
        "| | log-loss, nats per row | direction, nats per moved row |",
        "|---|---|---|",
        *(f"| {name} | {loss:.4f} | {evaluation.direction_loss[name]:.4f} |" for name, loss in evaluation.log_loss.items()),
        "",
        _claim("Three classes", evaluation.trend),
        "",
        _claim("Direction of moves", evaluation.direction),
        "",
        "## Limits",
        "",
        "- Past figures on this data say nothing about another market, year or venue. Simulated data count for nothing but the code.",
        "- A good score is not a profit: costs, latency and fills decide, and only a backtest through the engine charges them.",
        "- Refuses (no prediction): unknown symbol, NaN, values out of range, stale or future input, rows unlike the training rows, "
        "fewer than a full window.",
        "- Switch off when: calibration error leaves its interval above, refusals triple, or the verdict on new sessions is not `beats`.",
        "",
    ]
    return "\n".join(lines)


def _figures(evaluation: LobEvaluation) -> str:
    model = evaluation.model
    share = " / ".join(f"{value:.0%}" for value in model.class_share)
    return (
        f"{model.rows:,} rows in {model.sessions} sessions (or blocks); classes down / flat / up {share}. "
        f"Log-loss {_interval(model.log_loss)}, Brier {_interval(model.brier)} (skill {model.brier_skill:.3f}), "
        f"calibration error {_interval(model.ece)}, macro-F1 {_interval(model.macro_f1)}, balanced accuracy "
        f"{_interval(model.balanced_accuracy)}."
    )


def _claim(name: str, claim: Claim) -> str:
    verdict = "no verdict (too few sessions)" if claim.verdict is Verdict.NOT_APPLICABLE else claim.verdict.value
    gains = "; ".join(f"{entry.baseline} {_interval(entry.gain)}, p {entry.p_holm:.3f}" for entry in claim.comparisons)
    return f"**{name}: {verdict}.** Log-loss saved over {claim.sessions} sessions against {gains or 'nothing'}."


def _interval(figure: Interval) -> str:
    return f"{figure.value:.4f} [{figure.low:.4f}, {figure.high:.4f}]"
