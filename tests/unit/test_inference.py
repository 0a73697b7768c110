"""sagemaker/inference/inference.py: the contract of questions and answers, by item and by refusal."""

import importlib.util
import json
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_worlds import model_folder, trained
from tidemark.errors import DecodeError
from tidemark.models.npz import read_npz, write_npz
from tidemark.models.predictor import LobPredictor
from tidemark.models.serving import (
    JSON,
    NPZ,
    Answer,
    Refusal,
    RefusalCode,
    Request,
    Response,
    decode_description,
    decode_response_json,
    encode_describe,
    encode_request_json,
    encode_request_npz,
    status_of,
)
from tidemark.units import NS_PER_MS, NS_PER_S

INFERENCE = Path(__file__).resolve().parents[2] / "sagemaker" / "inference" / "inference.py"
NOW_NS = 1_767_623_400 * NS_PER_S


def inference() -> ModuleType:
    """By path, as the endpoint does; the folder is no package."""
    spec = importlib.util.spec_from_file_location("inference_under_test", INFERENCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CODE = inference()


@pytest.fixture(scope="module")
def model() -> LobPredictor:
    return CODE.model_fn(str(model_folder()))


def question(model: LobPredictor, count: int = 3) -> Request:
    """A fresh question with `count` true windows."""
    rows = trained().split.test[:: len(trained().split.test) // count][:count]
    at = np.full(count, NOW_NS - 100 * NS_PER_MS)
    return Request(model.description.schema, "q-1", NOW_NS, np.zeros(count, np.int16), at, at.copy(), trained().windows.windows(rows))


def ask(model: LobPredictor, body: bytes, content_type: str, accept: str = JSON) -> bytes:
    answer, kind = CODE.output_fn(CODE.predict_fn(CODE.input_fn(body, content_type), model), accept)
    assert kind == JSON
    return answer


def answers(model: LobPredictor, request: Request) -> Response:
    return decode_response_json(ask(model, encode_request_npz(request), NPZ), request, model.description)


def test_both_forms_of_a_question_get_the_same_answer(model: LobPredictor):
    """npz is for speed, JSON for people; the model must not care."""
    request = question(model)
    by_json = ask(model, encode_request_json(request, model.description.symbols), JSON)
    got = decode_response_json(by_json, request, model.description)
    assert got.items == answers(model, request).items
    assert all(isinstance(item, Answer) for item in got.items)


def test_answers_are_distributions_per_horizon(model: LobPredictor):
    """Down, flat and up sum to one within 1e-6, and a bracket's chance is a chance."""
    for item in answers(model, question(model, 20)).items:
        assert isinstance(item, Answer)
        assert len(item.p) == len(model.description.horizons_ns)
        assert all(abs(sum(p) - 1) < 1e-6 for p in item.p)
        assert 0 <= item.p_win_long <= 1
        assert (item.expected_ticks > 0) == (item.p[0][2] > item.p[0][0])


def test_an_item_alone_and_in_a_batch_of_64_gets_the_same_bytes(model: LobPredictor):
    """Who else asks at the same moment must not change a decision: equal to the last bit, not nearly."""
    batch = question(model, 64)
    together = answers(model, batch).items
    for i in (0, 17, 63):
        one = Request(
            batch.schema,
            "q",
            batch.now_ns,
            batch.symbol_i[i : i + 1],
            batch.event_ts_ns[i : i + 1],
            batch.avail_ts_ns[i : i + 1],
            batch.x[i : i + 1],
        )
        assert answers(model, one).items[0] == together[i]


def test_the_in_process_predictor_gives_the_endpoints_answers(model: LobPredictor):
    """A backtest and a running stack must see the same model."""
    request = question(model, 8)
    local = model.predict(request.x, request.symbol_i, request.event_ts_ns, request.avail_ts_ns)
    assert tuple(local) == answers(model, request).items


def refusal(model: LobPredictor, request: Request) -> Refusal:
    item = answers(model, request).items[0]
    assert isinstance(item, Refusal)
    return item


def test_every_reason_to_refuse_an_item_has_its_code(model: LobPredictor):
    """Refuse, never guess; and say what was found and what the limit is."""
    good = question(model, 1)
    nan, huge, odd = (good.x.copy() for _ in range(3))
    nan[0, 3, 5] = np.nan
    huge[0, 3, 5] = 1e12
    odd[0, -1] = 8 * np.sign(np.arange(48) % 2 - 0.5) * 1e3
    late = good.avail_ts_ns - 3 * NS_PER_S
    early = good.avail_ts_ns + NS_PER_S
    assert refusal(model, replace(good, x=nan)).code is RefusalCode.NAN
    assert refusal(model, replace(good, x=huge)).code is RefusalCode.RANGE
    assert refusal(model, replace(good, x=odd)).code is RefusalCode.OOD
    assert refusal(model, replace(good, symbol_i=np.array([5], np.int16))).code is RefusalCode.SYMBOL
    assert refusal(model, replace(good, event_ts_ns=early, avail_ts_ns=early)).code is RefusalCode.FUTURE
    stale = refusal(model, replace(good, event_ts_ns=late, avail_ts_ns=late))
    assert (stale.code, stale.field, stale.limit) == (RefusalCode.STALE, "ts_avail_ns", 2_000.0)
    assert stale.value == pytest.approx(3_100.0)


def test_one_bad_item_does_not_spoil_the_rest(model: LobPredictor):
    """Answers are per item, in order."""
    request = question(model, 3)
    x = request.x.copy()
    x[1, 0, 0] = np.inf
    items = answers(model, replace(request, x=x)).items
    assert [isinstance(item, Answer) for item in items] == [True, False, True]
    assert items[0] == answers(model, request).items[0]


def test_an_unknown_symbol_in_json_is_refused_by_item(model: LobPredictor):
    """Callers name symbols; a name the model does not know has no answer."""
    body = json.loads(encode_request_json(question(model, 2), model.description.symbols))
    body["items"][1]["symbol"] = "GC"
    items = json.loads(ask(model, json.dumps(body).encode(), JSON))["items"]
    assert items[0]["ok"] is True
    assert (items[1]["ok"], items[1]["code"]) == (False, "SYMBOL")


def test_the_description_is_what_the_signal_processor_needs(model: LobPredictor):
    """One small question at start, instead of weights in a Lambda."""
    assert decode_description(ask(model, encode_describe(), JSON)) == model.description


def bodies(model: LobPredictor) -> dict[str, tuple[bytes, str, int]]:
    """(body, content type, status) of questions that are the caller's fault."""
    request = question(model, 1)
    spec = json.loads(encode_request_json(request, model.description.symbols))
    window = spec["items"][0]["x"]

    def item(**change: Any) -> bytes:
        return json.dumps({**spec, "items": [{**spec["items"][0], **change}]}).encode()

    arrays = dict(read_npz(encode_request_npz(request), bytes_max=1 << 24))
    return {
        "empty": (b"", JSON, 400),
        "not JSON": (b"{", JSON, 400),
        "not an object": (b"[1]", JSON, 400),
        "not UTF-8": (b'{"schema":"\xff"}', JSON, 400),
        "NaN literal": (json.dumps(spec).replace(str(window[0][0]), "NaN").encode(), JSON, 400),
        "Infinity literal": (json.dumps(spec).replace(str(window[0][0]), "-Infinity").encode(), JSON, 400),
        "field twice": (json.dumps(spec).replace('"now_ns"', '"schema": "x", "now_ns"').encode(), JSON, 400),
        "unknown field": (json.dumps({**spec, "deadline": 1}).encode(), JSON, 400),
        "unknown field of an item": (item(extra=1), JSON, 400),
        "no items": (json.dumps({**spec, "items": []}).encode(), JSON, 400),
        "65 items": (json.dumps({**spec, "items": spec["items"] * 65}).encode(), JSON, 400),
        "time as text": (item(ts_event_ns="5"), JSON, 400),
        "time as truth": (item(ts_event_ns=True), JSON, 400),
        "time as float": (item(ts_event_ns=1.5), JSON, 400),
        "negative time": (item(ts_event_ns=-5), JSON, 400),
        "time beyond int64": (item(ts_event_ns=2**63), JSON, 400),
        "symbol as number": (item(symbol=5), JSON, 400),
        "deep nesting": (b'{"schema":' + b"[" * 100_000, JSON, 400),
        "huge integer": (json.dumps(spec).replace(str(window[0][0]), "9" * 400).encode(), JSON, 409),
        "text in x": (item(x=[["1"] * 48] * len(window)), JSON, 409),
        "ragged x": (item(x=[*window[:-1], window[-1][:-1]]), JSON, 409),
        "x too short": (item(x=window[:-1]), JSON, 409),
        "x flat": (item(x=window[0]), JSON, 409),
        "other schema": (json.dumps({**spec, "schema": "lob-00000000"}).encode(), JSON, 409),
        "other schema, npz": (encode_request_npz(replace(request, schema="lob-00000000")), NPZ, 409),
        "x of doubles": (write_npz({**arrays, "x": arrays["x"].astype(np.float64)}), NPZ, 409),
        "x of another width": (write_npz({**arrays, "x": arrays["x"][:, :, :47]}), NPZ, 409),
        "array missing": (write_npz({name: array for name, array in arrays.items() if name != "symbol"}), NPZ, 400),
        "array too many": (write_npz({**arrays, "mask": arrays["x"]}), NPZ, 400),
        "lengths differ": (write_npz({**arrays, "symbol": np.zeros(2, np.int16)}), NPZ, 409),
        "batch of none": (write_npz({**arrays, **{k: arrays[k][:0] for k in ("x", "symbol", "ts_event_ns", "ts_avail_ns")}}), NPZ, 400),
        "truncated npz": (encode_request_npz(request)[:-40], NPZ, 400),
        "npz as JSON": (encode_request_npz(request), JSON, 400),
        "control characters": (write_npz({**arrays, "request_id": np.frombuffer(b"a\nb", np.uint8)}), NPZ, 400),
        "content type": (b"{}", "text/csv", 415),
        "oversize": (b" " * (4 * 1024 * 1024 + 1), JSON, 413),
    }


@pytest.mark.parametrize("name", sorted(bodies(LobPredictor.load(model_folder()))))
def test_a_callers_fault_is_a_4xx(model: LobPredictor, name: str):
    """The status says whose fault it is: these will never be right, whoever repeats them."""
    body, content_type, status = bodies(model)[name]
    with pytest.raises(DecodeError) as caught:
        ask(model, body, content_type)
    assert status_of(caught.value) == status


def test_an_answer_nobody_can_read_is_refused(model: LobPredictor):
    """Answers are JSON; a caller that accepts only something else is told so."""
    with pytest.raises(DecodeError) as caught:
        ask(model, encode_describe(), JSON, accept="text/csv")
    assert status_of(caught.value) == 406


@settings(max_examples=1_500, deadline=None)
@given(st.data())
def test_no_body_raises_anything_but_a_refusal(data: st.DataObject):
    """Fuzzed bodies of both forms: damaged true ones, and noise. Anything but DecodeError would be a 500."""
    model = _served()
    request = question(model, 1)
    content_type = data.draw(st.sampled_from([NPZ, JSON]))
    good = encode_request_npz(request) if content_type == NPZ else encode_request_json(request, model.description.symbols)
    body = bytearray(good)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(body)))
        noise = data.draw(st.binary(max_size=6) | st.sampled_from([b"null", b"-1", b"1e999", b"[]", b"{}", b'"', b"9" * 20, b",", b"true"]))
        body[at : at + data.draw(st.integers(0, 8))] = noise
    refused: DecodeError | None = None
    try:
        ask(model, bytes(body), content_type)
    except DecodeError as error:
        refused = error
    assert refused is None or 400 <= status_of(refused) < 500


def _served() -> LobPredictor:
    """One loaded model for hypothesis, which wants no fixtures."""
    global _MODEL
    if _MODEL is None:
        _MODEL = CODE.model_fn(str(model_folder()))
    return _MODEL


_MODEL: LobPredictor | None = None


def test_a_damaged_request_is_refused_or_changes_nothing(model: LobPredictor):
    """Any single byte: a checksum catches the numbers, checks catch the rest; no damage may become another question."""
    request = question(model, 1)
    good = encode_request_npz(request)
    expected = answers(model, request).items
    for i in range(0, len(good), 7):
        damaged = bytearray(good)
        damaged[i] ^= 0x41
        try:
            body = ask(model, bytes(damaged), NPZ)
        except DecodeError:
            continue
        assert decode_response_json(body, request, model.description).items == expected


def test_an_answer_to_another_question_is_no_answer(model: LobPredictor):
    """Request id, model, version, schema, count, ranges: each is checked before a number is used."""
    request = question(model, 2)
    spec = json.loads(ask(model, encode_request_npz(request), NPZ))

    def item(change: Any) -> dict[str, Any]:
        changed = json.loads(json.dumps(spec))
        change(changed["items"][0])
        return changed

    horizon = str(model.description.horizons_ns[0])
    lies = [
        {**spec, "request_id": "q-2"},
        {**spec, "version": "0" * 16},
        {**spec, "weights_sha": "0" * 64},
        {**spec, "schema": "lob-00000000"},
        {**spec, "items": spec["items"][:1]},
        {**spec, "ms": "1"},
        item(lambda one: one["p"].__setitem__(horizon, [0.5, 0.5, 0.5])),
        item(lambda one: one["p"].__setitem__(horizon, [-0.1, 0.6, 0.5])),
        item(lambda one: one["p"].__setitem__("1", one["p"].pop(horizon))),
        item(lambda one: one.__setitem__("p_win", {"long": 1.5, "short": 0.2})),
        item(lambda one: one.pop("expected_ticks")),
        item(lambda one: one.__setitem__("ok", "yes")),
        item(lambda one: one.update(ok=False, code="TIRED")),
    ]
    for lie in lies:
        with pytest.raises(DecodeError):
            decode_response_json(json.dumps(lie).encode(), request, model.description)
    with pytest.raises(DecodeError):
        decode_response_json(json.dumps(spec).replace('"ms"', '"ms": NaN, "x"').encode(), request, model.description)
    assert decode_response_json(json.dumps(spec).encode(), request, model.description).items


def test_an_item_takes_well_under_a_millisecond_of_work(model: LobPredictor):
    """The budget of the whole signal leg is 50 ms; the model is to be a small part. Median, with room for a busy machine."""
    request = question(model, 64)
    model.answer(request)
    began = time.process_time()
    for _ in range(5):
        model.answer(request)
    assert (time.process_time() - began) / (5 * 64) < 2e-3
