"""The local endpoint as a process: SageMaker's HTTP contract, boto3 as its caller, and no 500 for anybody's mistake."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from model_worlds import model_folder, trained
from tidemark.adapters.endpoint import EndpointPredictor, EventClock
from tidemark.errors import InputError
from tidemark.local.endpoint import ModelEndpoint
from tidemark.models.predictor import LobPredictor
from tidemark.models.serving import BODY_BYTES_MAX, JSON, NPZ, Answer, encode_describe

SOURCE = Path(__file__).resolve().parents[2] / "src"


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tidemark.local.endpoint", "--model-dir", str(folder), "--port", "0", *more]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    process = start(model_folder())
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    yield ready["port"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0, "SIGTERM ends it cleanly"


def call(
    port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, json.loads(data)


def sagemaker(port: int) -> object:
    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"max_attempts": 0}),
    )


def test_boto3_gets_the_in_process_answers(port: int):
    """The signal processor calls `invoke_endpoint` here as in AWS, and sees what a backtest sees."""
    model = LobPredictor.load(model_folder())
    rows = trained().split.test[:5]
    windows, at = trained().windows.windows(rows), np.arange(5) * 250_000_000 + 1_767_623_400_000_000_000
    symbols = np.zeros(5, np.int16)
    remote = EndpointPredictor(sagemaker(port), "tidemark-test-lob", EventClock())
    assert remote.description == model.description
    got = remote.predict(windows, symbols, at, at)
    assert all(isinstance(item, Answer) for item in got)
    assert got == model.predict(windows, symbols, at, at)


def test_ping_answers_when_the_model_has_verified(port: int):
    """200 says: weights loaded, hashes verified, golden answers reproduced."""
    assert call(port, "GET", "/ping") == (200, {})


def test_a_refused_question_reaches_boto3_as_the_callers_fault(port: int):
    """A 4xx is not retried and does not count as the endpoint's failure."""
    with pytest.raises(ClientError) as caught:
        sagemaker(port).invoke_endpoint(EndpointName="tidemark-test-lob", ContentType=NPZ, Body=b"not an npz")  # type: ignore[attr-defined]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/", None, {}, 404),
        ("GET", "/invocations", None, {}, 404),
        ("POST", "/ping", b"{}", {"Content-Type": JSON}, 404),
        ("POST", "/endpoints/../ping/invocations", b"{}", {"Content-Type": JSON}, 404),
        ("POST", "/endpoints/" + "x" * 64 + "/invocations", b"{}", {"Content-Type": JSON}, 404),
        ("POST", "/invocations", b"{}", {"Content-Type": JSON}, 400),
        ("POST", "/invocations", b"{}", {"Content-Type": "text/plain"}, 415),
        ("POST", "/invocations", b"", {"Content-Type": JSON}, 400),
        ("POST", "/invocations", encode_describe(), {"Content-Type": JSON, "Accept": "text/csv"}, 406),
        ("POST", "/invocations", encode_describe(), {"Content-Type": JSON, "Accept": "*/*"}, 200),
        ("POST", "/endpoints/tidemark-dev-lob/invocations", encode_describe(), {"Content-Type": JSON}, 200),
    ],
)
def test_paths_and_methods(port: int, method: str, path: str, body: bytes | None, headers: dict[str, str], status: int):
    """Only what a container serves, and the path that boto3 calls."""
    assert call(port, method, path, body, headers)[0] == status


def raw(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_bodies_without_a_true_length_are_refused_before_they_are_read(port: int):
    """A length is needed, is bounded, and a body that ends early is nobody's question."""
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    assert raw(port, head + b"\r\n{}").startswith(b"HTTP/1.1 411")
    assert raw(port, head + b"Content-Length: -1\r\n\r\n").startswith(b"HTTP/1.1 411")
    assert raw(port, head + b"Content-Length: " + str(BODY_BYTES_MAX + 1).encode() + b"\r\n\r\n").startswith(b"HTTP/1.1 413")
    assert raw(port, head + b"Content-Length: 50\r\n\r\n{}") == b""
    assert call(port, "GET", "/ping")[0] == 200


def test_noise_never_makes_a_500(port: int):
    """A hundred random bodies over one connection: each is answered, none breaks the server."""
    rng = np.random.default_rng(0)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for i in range(100):
        connection.request("POST", "/invocations", rng.bytes(int(rng.integers(0, 400))), {"Content-Type": (NPZ, JSON)[i % 2]})
        response = connection.getresponse()
        response.read()
        assert 400 <= response.status < 500
    connection.close()


def test_callers_side_by_side_get_their_own_answers(port: int):
    """Threads share one model; answers must not mix."""
    model = LobPredictor.load(model_folder())
    rows = trained().split.test[:8]
    windows, at = trained().windows.windows(rows), np.full(1, 1_767_623_400_000_000_000)
    expected = model.predict(windows, np.zeros(8, np.int16), np.repeat(at, 8), np.repeat(at, 8))
    wrong: list[int] = []

    def one(i: int) -> None:
        remote = EndpointPredictor(sagemaker(port), "tidemark-test-lob", EventClock())
        for _ in range(5):
            if remote.predict(windows[i : i + 1], np.zeros(1, np.int16), at, at) != [expected[i]]:
                wrong.append(i)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_model_that_does_not_verify_is_not_served(tmp_path: Path):
    """Exit 2 and one line that says what is wrong, whoever started it."""
    process = start(tmp_path / "nothing")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out == ""
    assert err.count("error: ") == 1
    assert "no such folder" in err


def test_until_the_model_is_ready_the_endpoint_says_why(tmp_path: Path):
    """503 with the reason: loading, or what failed; never an answer from half a model."""
    endpoint = ModelEndpoint(tmp_path / "nothing")
    assert endpoint.invoke(encode_describe(), JSON, "")[0] == 503
    with pytest.raises(InputError):
        endpoint.load()
    status, body, _ = endpoint.invoke(encode_describe(), JSON, "")
    assert status == 503
    assert b"no such folder" in body


def test_a_round_trip_takes_a_small_part_of_the_budget(port: int):
    """Signals have 50 ms; half the calls of one window must come back within a fifth of it, on a busy laptop, too."""
    remote = EndpointPredictor(sagemaker(port), "tidemark-test-lob", EventClock())
    windows, at = trained().windows.windows(trained().split.test[:1]), np.full(1, 1_767_623_400_000_000_000)
    remote.predict(windows, np.zeros(1, np.int16), at, at)
    took = []
    for _ in range(40):
        began = time.perf_counter()
        remote.predict(windows, np.zeros(1, np.int16), at, at)
        took.append(time.perf_counter() - began)
    assert np.median(took) < 0.01 * 3
