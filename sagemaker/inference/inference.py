"""What a model container runs: SageMaker's four functions around `tidemark.models`, the same file on a laptop.

A question that the caller got wrong is answered with a 4xx, never a 500: where SageMaker's toolkit is there, by its own
error type, elsewhere by `DecodeError`, which the local endpoint turns into the same status.
"""

import importlib.util
from pathlib import Path
from typing import Any

from tidemark.errors import DecodeError
from tidemark.models.predictor import LobPredictor
from tidemark.models.serving import JSON, NPZ, Describe, Request, Response, decode_request, encode_description, encode_response, status_of
from tidemark.units import NS_PER_MS

WARM_UP_CALLS = 20


def model_fn(model_dir: str, context: Any = None) -> LobPredictor:
    """Load, verify, compare the golden answers, warm up. Raises InputError: a container that cannot verify must not start."""
    model = LobPredictor.load(Path(model_dir))
    model.warm_up(WARM_UP_CALLS)
    return model


def input_fn(body: bytes | str, content_type: str, context: Any = None) -> tuple[bytes, str]:
    """The body as it came: what it must look like is the model's to say (`predict_fn`)."""
    return (body.encode() if isinstance(body, str) else bytes(body)), content_type or JSON


def predict_fn(
    data: tuple[bytes, str], model: LobPredictor, context: Any = None
) -> tuple[LobPredictor, Request | Describe, Response | None]:
    """Decode and answer. A refused question raises the error that becomes its 4xx."""
    body, content_type = data
    try:
        question = decode_request(body, content_type, model.description.symbols)
        return model, question, None if isinstance(question, Describe) else model.answer(question)
    except DecodeError as error:
        raise _refused(error) from error


def output_fn(prediction: tuple[LobPredictor, Request | Describe, Response | None], accept: str, context: Any = None) -> tuple[bytes, str]:
    """(body, content type); answers are JSON whatever the question's form was."""
    model, question, response = prediction
    if accept and not any(kind in accept for kind in ("*/*", "application/*", JSON, NPZ)):
        raise _refused(DecodeError("ACCEPT", f"accept {accept[:60]!r}, answers are {JSON}"))
    if response is None or isinstance(question, Describe):
        return encode_description(model.description), JSON
    ages_ms = ((question.now_ns - question.avail_ts_ns) / NS_PER_MS).tolist()
    return encode_response(response, model.description.horizons_ns, ages_ms), JSON


def _refused(error: DecodeError) -> Exception:
    if importlib.util.find_spec("sagemaker_inference") is None:
        return error
    from sagemaker_inference.errors import BaseInferenceToolkitError  # type: ignore[import-not-found]

    refused: Exception = BaseInferenceToolkitError(status_of(error), str(error), error.reason)
    return refused
