"""Questions to a model and its answers, as bytes: what the endpoint reads and what its callers send.

Two forms of a question: npz (fast, exact) and JSON (readable). Answers are JSON, one per item, so that one bad item does
not fail the rest. A caller uses an answer only after it has been held against the question (`decode_response_json`); there is
no default probability. Standard library and numpy only: the signal processor and the model container both import this.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tidemark.errors import DecodeError
from tidemark.models.description import ModelDescription
from tidemark.models.npz import read_npz, write_npz
from tidemark.units import INT64_MAX

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

NPZ, JSON = "application/x-npz", "application/json"
BODY_BYTES_MAX = 4 * 1024 * 1024
ITEMS_MAX = 64
TEXT_CHARS_MAX = 64
UNKNOWN_SYMBOL = -1
SUM_ERROR_MAX = 1e-6


class RefusalCode(StrEnum):
    """Why an item has no answer. Closed list: callers count by it."""

    NAN = "NAN"
    RANGE = "RANGE"
    STALE = "STALE"
    FUTURE = "FUTURE"
    OOD = "OOD"
    SYMBOL = "SYMBOL"
    WARMUP = "WARMUP"


@dataclass(frozen=True, slots=True)
class Refusal:
    """No prediction, and why: the field, its limit and the value found."""

    code: RefusalCode
    field: str
    limit: float
    value: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One prediction. `p` has (down, flat, up) per horizon; wins are of the described bracket, entered long or short;
    `expected_ticks` is the expected mean move of the mid over the primary horizon."""

    p: tuple[tuple[float, float, float], ...]
    p_win_long: float
    p_win_short: float
    expected_ticks: float


Result = Answer | Refusal


class Predictor(Protocol):
    """What the signal path needs from a model, wherever it runs: the weights in this process, or an endpoint."""

    @property
    def description(self) -> ModelDescription: ...

    def predict(self, windows: F32, symbol_i: npt.NDArray[np.int16], event_ts_ns: I64, avail_ts_ns: I64) -> list[Result]:
        """One result per window, (B, T, F) unscaled; each depends on its own window only.

        Raises UnavailableError when there is no answer, DecodeError when there is one that cannot be believed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """A batch of windows. Shapes: x (B, T, F) float32, symbol_i int16 (B,) (UNKNOWN_SYMBOL where a name was not known),
    event_ts_ns, avail_ts_ns int64 (B,). `now_ns` is the asker's clock: ages are measured against it."""

    schema: str
    request_id: str
    now_ns: int
    symbol_i: npt.NDArray[np.int16]
    event_ts_ns: I64
    avail_ts_ns: I64
    x: F32

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True)
class Describe:
    """The question "what are you?": `{"describe": true}`."""


@dataclass(frozen=True, slots=True)
class Response:
    """All answers of one request, in its order, and who gave them. `served_ns` is the time it took."""

    model: str
    version: str
    weights_sha: str
    schema: str
    request_id: str
    served_ns: int
    items: tuple[Result, ...]


def encode_request_npz(request: Request) -> bytes:
    """Body of a question, content type NPZ."""
    return write_npz(
        {
            "schema": np.frombuffer(request.schema.encode("ascii"), np.uint8),
            "request_id": np.frombuffer(request.request_id.encode("ascii"), np.uint8),
            "now_ns": np.array([request.now_ns], np.int64),
            "symbol": request.symbol_i.astype(np.int16, copy=False),
            "ts_event_ns": request.event_ts_ns.astype(np.int64, copy=False),
            "ts_avail_ns": request.avail_ts_ns.astype(np.int64, copy=False),
            "x": request.x.astype(np.float32, copy=False),
        }
    )


def encode_request_json(request: Request, symbols: Sequence[str]) -> bytes:
    """The same question as JSON; `symbols` are the description's."""
    items = [
        {
            "symbol": symbols[request.symbol_i[i]],
            "ts_event_ns": int(request.event_ts_ns[i]),
            "ts_avail_ns": int(request.avail_ts_ns[i]),
            "x": x,
        }
        for i, x in enumerate(request.x.astype(float).tolist())
    ]
    body = {"schema": request.schema, "request_id": request.request_id, "now_ns": request.now_ns, "items": items}
    return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def encode_describe() -> bytes:
    """Body of the question for a description, content type JSON."""
    return b'{"describe":true}'


def decode_request(body: bytes, content_type: str, symbols: Sequence[str]) -> Request | Describe:
    """Inverse of the encoders, `symbols` being the model's. Raises DecodeError; its reason gives the HTTP status (`status_of`).

    Whether schema and window fit the model is the model's check; here every length, type and bound is.
    """
    if len(body) > BODY_BYTES_MAX:
        raise DecodeError("OVERSIZE", f"body of {len(body)} bytes, at most {BODY_BYTES_MAX}")
    kind = content_type.split(";")[0].strip().lower()
    if kind == NPZ:
        return _checked(_from_npz(body))
    if kind == JSON:
        spec = _strict_json(body)
        return Describe() if spec == {"describe": True} else _checked(_from_json(spec, symbols))
    raise DecodeError("CONTENT_TYPE", f"content type {kind[:60]!r}, expected {NPZ} or {JSON}")


def encode_description(described: ModelDescription) -> bytes:
    """Body of the answer to `Describe`."""
    return json.dumps(described.to_json(), separators=(",", ":"), allow_nan=False).encode()


def decode_description(body: bytes) -> ModelDescription:
    """Inverse of `encode_description`. Raises DecodeError."""
    return ModelDescription.from_json(_strict_json(body))


STATUS: Mapping[str, int] = {"SCHEMA": 409, "OVERSIZE": 413, "CONTENT_TYPE": 415, "ACCEPT": 406}


def status_of(error: DecodeError) -> int:
    """HTTP status that a refused question deserves: always the caller's fault."""
    return STATUS.get(error.reason, 400)


def encode_error(reason: str, detail: str) -> bytes:
    """Body of a refused question."""
    return json.dumps({"error": {"code": reason, "message": detail}}, separators=(",", ":")).encode()


def encode_response(response: Response, horizons_ns: Sequence[int], ages_ms: Sequence[float]) -> bytes:
    """JSON body of the answers. Horizons name the probabilities, ages are told beside each answer."""
    items = [_item(result, horizons_ns, age) for result, age in zip(response.items, ages_ms, strict=True)]
    return json.dumps(
        {
            "model": response.model,
            "version": response.version,
            "weights_sha": response.weights_sha,
            "schema": response.schema,
            "request_id": response.request_id,
            "ms": response.served_ns / 1e6,
            "items": items,
        },
        separators=(",", ":"),
        allow_nan=False,
    ).encode()


def _item(result: Result, horizons_ns: Sequence[int], age_ms: float) -> dict[str, Any]:
    if isinstance(result, Refusal):
        return {"ok": False, "code": result.code.value, "field": result.field, "limit": result.limit, "value": _finite(result.value)}
    return {
        "ok": True,
        "p": {str(horizon): list(p) for horizon, p in zip(horizons_ns, result.p, strict=True)},
        "p_win": {"long": result.p_win_long, "short": result.p_win_short},
        "expected_ticks": result.expected_ticks,
        "age_ms": age_ms,
    }


def decode_response_json(body: bytes, request: Request, described: ModelDescription) -> Response:
    """Answers, if they answer this request and every number can be true. Raises DecodeError otherwise: then there is none.

    Checked: model, version, weights, schema and request id; one item per question; probabilities finite, in [0, 1], summing
    to one within 1e-6.
    """
    spec = _strict_json(body)
    expected = {
        "model": described.model,
        "version": described.version,
        "weights_sha": described.weights_sha,
        "schema": described.schema,
        "request_id": request.request_id,
    }
    for name, value in expected.items():
        if spec.get(name) != value:
            raise DecodeError("ANSWER", f"{name} is {str(spec.get(name))[:60]!r}, expected {value!r}")
    items = spec.get("items")
    if not isinstance(items, list) or len(items) != len(request):
        raise DecodeError("ANSWER", f"expected {len(request)} items")
    names = [str(horizon) for horizon in described.horizons_ns]
    served_ms = _number(spec.get("ms"), "ms")
    header = (described.model, described.version, described.weights_sha, described.schema, request.request_id)
    return Response(*header, int(served_ms * 1e6), tuple(_result(item, names) for item in items))


def _result(item: Any, horizons: Sequence[str]) -> Result:
    if not isinstance(item, dict) or not isinstance(item.get("ok"), bool):
        raise DecodeError("ANSWER", "an item must say ok or not")
    if not item["ok"]:
        try:
            code = RefusalCode(str(item.get("code")))
        except ValueError:
            raise DecodeError("ANSWER", f"refusal code {str(item.get('code'))[:20]!r}") from None
        return Refusal(
            code, str(item.get("field"))[:TEXT_CHARS_MAX], _number(item.get("limit"), "limit"), _number(item.get("value"), "value")
        )
    p, wins = item.get("p"), item.get("p_win")
    if not isinstance(p, dict) or list(p) != list(horizons) or not isinstance(wins, dict):
        raise DecodeError("ANSWER", "an answer needs p per horizon and p_win")
    long, short = (_probability(wins.get(side), f"p_win {side}") for side in ("long", "short"))
    return Answer(tuple(_distribution(p[name]) for name in horizons), long, short, _number(item.get("expected_ticks"), "expected_ticks"))


def _distribution(value: Any) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3:
        raise DecodeError("ANSWER", "p must hold three probabilities")
    down, flat, up = (_probability(entry, "p") for entry in value)
    if abs(down + flat + up - 1.0) > SUM_ERROR_MAX:
        raise DecodeError("ANSWER", f"probabilities sum to {down + flat + up}")
    return down, flat, up


def _probability(value: Any, field: str) -> float:
    number = _number(value, field)
    if not 0.0 <= number <= 1.0:
        raise DecodeError("ANSWER", f"{field} is {number}, expected a probability")
    return number


def _number(value: Any, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DecodeError("ANSWER", f"{field}: got {str(value)[:40]}, expected a finite number")
    return float(value)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


_ARRAYS = {"schema": ("|u1", 1), "request_id": ("|u1", 1), "now_ns": ("<i8", 1), "symbol": ("<i2", 1), "ts_event_ns": ("<i8", 1)}
_ARRAYS |= {"ts_avail_ns": ("<i8", 1), "x": ("<f4", 3)}


def _from_npz(body: bytes) -> Request:
    arrays = read_npz(body, bytes_max=BODY_BYTES_MAX)
    if set(arrays) != set(_ARRAYS):
        raise DecodeError("NPZ", f"arrays {', '.join(sorted(arrays))[:120]}, expected {', '.join(_ARRAYS)}")
    for name, (kind, dimensions) in _ARRAYS.items():
        if arrays[name].dtype.str != kind or arrays[name].ndim != dimensions:
            raise DecodeError(
                "SCHEMA", f"{name} is {arrays[name].dtype.str} of {arrays[name].ndim} dimensions, expected {kind} of {dimensions}"
            )
    if len(arrays["now_ns"]) != 1:
        raise DecodeError("SCHEMA", "now_ns must hold one time")
    return Request(
        _text(arrays["schema"].tobytes(), "schema"),
        _text(arrays["request_id"].tobytes(), "request_id"),
        int(arrays["now_ns"][0]),
        arrays["symbol"],
        arrays["ts_event_ns"],
        arrays["ts_avail_ns"],
        arrays["x"],
    )


def _from_json(spec: dict[str, Any], symbols: Sequence[str]) -> Request:
    if set(spec) != {"schema", "request_id", "now_ns", "items"} or not isinstance(spec["items"], list):
        raise DecodeError("JSON", "expected exactly the fields schema, request_id, now_ns, items")
    known = {symbol: i for i, symbol in enumerate(symbols)}
    for item in spec["items"]:
        if not isinstance(item, dict) or set(item) != {"symbol", "ts_event_ns", "ts_avail_ns", "x"}:
            raise DecodeError("JSON", "every item needs exactly symbol, ts_event_ns, ts_avail_ns, x")
        if not isinstance(item["symbol"], str):
            raise DecodeError("JSON", "symbol must be text")
    return Request(
        _text(spec["schema"], "schema"),
        _text(spec["request_id"], "request_id"),
        _time(spec["now_ns"], "now_ns"),
        np.array([known.get(item["symbol"], UNKNOWN_SYMBOL) for item in spec["items"]], np.int16),
        np.array([_time(item["ts_event_ns"], "ts_event_ns") for item in spec["items"]], np.int64),
        np.array([_time(item["ts_avail_ns"], "ts_avail_ns") for item in spec["items"]], np.int64),
        _windows([item["x"] for item in spec["items"]]),
    )


def _windows(items: list[Any]) -> F32:
    """Lists of rows of numbers as one array. Raises DecodeError (SCHEMA) when they are ragged or hold anything else."""
    for window in items:
        if not isinstance(window, list) or not all(isinstance(row, list) for row in window):
            raise DecodeError("SCHEMA", "x must be a list of rows")
        if not all(type(value) in (int, float) for row in window for value in row):
            raise DecodeError("SCHEMA", "x must hold numbers only")
    try:
        x = np.array(items, np.float64)
    except (ValueError, OverflowError):
        raise DecodeError("SCHEMA", "every x must have the same number of rows of the same length") from None
    if len(items) and x.ndim != 3:
        raise DecodeError("SCHEMA", "x must be rows of numbers")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        return np.asarray(x, np.float32)


def _checked(request: Request) -> Request:
    count = len(request.symbol_i)
    if not 1 <= count <= ITEMS_MAX:
        raise DecodeError("BATCH", f"{count} items, expected 1 to {ITEMS_MAX}")
    if {len(request.event_ts_ns), len(request.avail_ts_ns), len(request.x)} != {count}:
        raise DecodeError("SCHEMA", "symbol, ts_event_ns, ts_avail_ns and x must have one entry per item")
    if request.now_ns < 0 or request.event_ts_ns.min() < 0 or request.avail_ts_ns.min() < 0:
        raise DecodeError("RANGE", "times must not be negative")
    return request


def _time(value: Any, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= INT64_MAX:
        raise DecodeError("JSON", f"{field}: got {str(value)[:40]}, expected integer nanoseconds")
    return value


def _text(value: Any, field: str) -> str:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_CHARS_MAX or not (value.isascii() and value.isprintable()):
        raise DecodeError("TEXT", f"{field} must be 1 to {TEXT_CHARS_MAX} printable ASCII characters")
    return value


def _strict_json(body: bytes) -> dict[str, Any]:
    """A JSON object without NaN, Infinity or repeated keys. Raises DecodeError."""
    try:
        spec = json.loads(body.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise DecodeError("JSON", str(error)[:120]) from error
    if not isinstance(spec, dict):
        raise DecodeError("JSON", "expected an object")
    return spec


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a field occurs twice")
    return result
