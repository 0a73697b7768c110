"""A SageMaker endpoint for the laptop: the container's HTTP contract around the very inference.py that a model carries.

`python -m tidemark.local.endpoint --model-dir DIR --port N` serves GET /ping, POST /invocations, and POST
/endpoints/NAME/invocations, which is what boto3's sagemaker-runtime client calls when AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME
points here. One model, one lock: answers are as in a container with one worker.
"""

import argparse
import importlib.util
import json
import logging
import re
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

from tidemark.errors import DecodeError, InputError, bad_input
from tidemark.models.artifact import load as verify
from tidemark.models.serving import BODY_BYTES_MAX, JSON, encode_error, status_of

log = logging.getLogger("tidemark.endpoint")

HOST = "127.0.0.1"
READ_TIMEOUT_S = 30
WAITING_MAX = 64  # requests that wait for the lock; more are told to come back
_INVOKE = re.compile(r"/invocations|/endpoints/[A-Za-z0-9-]{1,63}/invocations")


class ModelEndpoint:
    """One loaded model. `ready` says why not, or None."""

    def __init__(self, model_dir: Path) -> None:
        self.model_dir = model_dir
        self.reason: str | None = "the model is loading"
        self._code: ModuleType | None = None
        self._model: Any = None
        self._lock = threading.Lock()
        self._waiting = threading.BoundedSemaphore(WAITING_MAX)

    def load(self) -> None:
        """Load and verify the model. Raises InputError; the reason is also what /ping says from then on."""
        try:
            verify(self.model_dir)  # before a line of the folder's code runs
            self._code = _inference_code(self.model_dir)
            self._model = self._code.model_fn(str(self.model_dir))
        except InputError as error:
            self.reason = str(error)
            raise
        self.reason = None

    def invoke(self, body: bytes, content_type: str, accept: str) -> tuple[int, bytes, str]:
        """(status, body, content type) of one question."""
        if self.reason is not None or self._code is None:
            return HTTPStatus.SERVICE_UNAVAILABLE, encode_error("NOT_READY", str(self.reason)), JSON
        if not self._waiting.acquire(blocking=False):
            return HTTPStatus.SERVICE_UNAVAILABLE, encode_error("OVERLOAD", f"{WAITING_MAX} requests are waiting"), JSON
        try:
            with self._lock:
                prediction = self._code.predict_fn(self._code.input_fn(body, content_type), self._model)
                answer, kind = self._code.output_fn(prediction, accept)
        except DecodeError as error:
            return status_of(error), encode_error(error.reason, error.detail), JSON
        finally:
            self._waiting.release()
        return HTTPStatus.OK, answer, kind


def _inference_code(model_dir: Path) -> ModuleType:
    """The model's own code/inference.py, loaded by path: the folder `sagemaker/` must never be imported as a package."""
    path = model_dir / "code" / "inference.py"
    spec = importlib.util.spec_from_file_location("tidemark_inference", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise bad_input(str(path), "file", "missing", "the model's inference code")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "tidemark-endpoint"
    sys_version = ""
    timeout = READ_TIMEOUT_S
    disable_nagle_algorithm = True
    endpoint: ModelEndpoint  # set on the class that `serve` makes

    def do_GET(self) -> None:
        if self.path != "/ping":
            self._send(HTTPStatus.NOT_FOUND, encode_error("PATH", "GET /ping, or POST /invocations"), JSON)
        elif self.endpoint.reason is None:
            self._send(HTTPStatus.OK, b"{}", JSON)
        else:
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, encode_error("NOT_READY", self.endpoint.reason), JSON)

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            return
        if _INVOKE.fullmatch(self.path) is None:
            self._send(HTTPStatus.NOT_FOUND, encode_error("PATH", "POST /invocations or /endpoints/NAME/invocations"), JSON)
            return
        self._send(*self.endpoint.invoke(body, self.headers.get("Content-Type", ""), self.headers.get("Accept", "")))

    def _body(self) -> bytes | None:
        """The request's body; None when the request was refused (and the connection is to be closed)."""
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,12}", length):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "LENGTH", "a Content-Length is needed")
            return None
        if int(length) > BODY_BYTES_MAX:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "OVERSIZE", f"body of {length} bytes, at most {BODY_BYTES_MAX}")
            return None
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            self.close_connection = True
            return None
        return body

    def _refuse(self, status: int, reason: str, detail: str) -> None:
        self.close_connection = True  # the body is still on the wire
        self._send(status, encode_error(reason, detail), JSON)

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-Amzn-Invoked-Production-Variant", "AllTraffic")
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


class EndpointServer(ThreadingHTTPServer):
    """Serves one endpoint on a local port; port 0 takes a free one (see `port`)."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, endpoint: ModelEndpoint, port: int) -> None:
        handler = type("Handler", (_Handler,), {"endpoint": endpoint, "wbufsize": -1})
        super().__init__((HOST, port), handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if isinstance(error, ConnectionError | TimeoutError | socket.timeout):
            return  # the caller went away
        log.error("request failed", exc_info=error)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Exit codes: 0 stopped, 2 the model or the port cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m tidemark.local.endpoint", description="Serve a model like a SageMaker endpoint.")
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    endpoint = ModelEndpoint(args.model_dir)
    try:
        server = EndpointServer(endpoint, args.port)
    except (OSError, OverflowError) as error:
        return _fail(f"endpoint: port: got {args.port}; expected a free port ({error})")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="http")
    serving.start()
    try:
        endpoint.load()
        sys.stdout.write(json.dumps({"ready": True, "port": server.port, "url": f"http://{HOST}:{server.port}"}) + "\n")
        sys.stdout.flush()
        stopped.wait()
    except InputError as error:
        return _fail(str(error))
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
    return 0


def _fail(text: str) -> int:
    sys.stderr.write(f"error: {text}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
