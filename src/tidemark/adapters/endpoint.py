"""A model behind a SageMaker endpoint, as the signal path's `Predictor`."""

import time
import uuid
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from botocore.exceptions import BotoCoreError, ClientError

from tidemark.errors import DecodeError, UnavailableError
from tidemark.events import I64
from tidemark.models.description import ModelDescription
from tidemark.models.serving import (
    F32,
    JSON,
    NPZ,
    Request,
    Result,
    decode_description,
    decode_response_json,
    encode_describe,
    encode_request_npz,
)


class AskClock(Protocol):
    """Which questions go together, and what time it is for each group."""

    def groups(self, avail_ts_ns: I64, age_ns_max: int) -> list[tuple[slice, int]]:
        """(rows, now_ns) groups that cover all rows in order."""
        ...


class WallClock:
    """Live: everything at once, ages against the host's clock."""

    def groups(self, avail_ts_ns: I64, age_ns_max: int) -> list[tuple[slice, int]]:
        """One group, now."""
        return [(slice(0, len(avail_ts_ns)), time.time_ns())]


class EventClock:
    """Lock-step replays: a row is asked about when it becomes available, so that no answer depends on how rows were batched."""

    def groups(self, avail_ts_ns: I64, age_ns_max: int) -> list[tuple[slice, int]]:
        """Runs of rows that are all young enough at the time of their newest."""
        found: list[tuple[slice, int]] = []
        times = avail_ts_ns.tolist()
        first = 0
        for i in range(1, len(times) + 1):
            if i == len(times) or times[i] - times[first] > age_ns_max:
                found.append((slice(first, i), times[i - 1]))
                first = i
        return found


class EndpointPredictor:
    """Asks the endpoint what it is once, then asks it about windows. An answer that does not fit the question is no answer."""

    def __init__(self, client: Any, endpoint: str, clock: AskClock) -> None:
        self._client = client
        self._endpoint = endpoint
        self._clock = clock
        self._described: ModelDescription | None = None

    @property
    def description(self) -> ModelDescription:
        """What the served model says about itself."""
        if self._described is None:
            self._described = decode_description(self._invoke(encode_describe(), JSON))
        return self._described

    def predict(self, windows: F32, symbol_i: npt.NDArray[np.int16], event_ts_ns: I64, avail_ts_ns: I64) -> list[Result]:
        """One result per window. Raises UnavailableError when nobody answers, DecodeError when the answer cannot be believed."""
        results: list[Result] = []
        for rows, now_ns in self._clock.groups(avail_ts_ns, self.description.age_ns_max) if len(windows) else []:
            request = Request(
                self.description.schema, uuid.uuid4().hex, now_ns, symbol_i[rows], event_ts_ns[rows], avail_ts_ns[rows], windows[rows]
            )
            try:
                results += decode_response_json(self._invoke(encode_request_npz(request), NPZ), request, self.description).items
            except DecodeError:
                self._described = None  # another version may be served now: ask again before the next question
                raise
        return results

    def _invoke(self, body: bytes, content_type: str) -> bytes:
        try:
            reply = self._client.invoke_endpoint(EndpointName=self._endpoint, ContentType=content_type, Accept=JSON, Body=body)
            data: bytes = reply["Body"].read()
        except (BotoCoreError, ClientError) as error:
            raise UnavailableError(f"endpoint {self._endpoint}: {error}") from error
        return data
