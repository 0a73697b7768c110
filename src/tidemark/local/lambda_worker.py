"""One Lambda execution environment: loads a handler by path and answers invocations over an inherited socket.

Started by `environment.Environment` with nothing but the function's own variables. Frames are a four-byte length and
that many bytes; an invocation is two frames, a head and the event as JSON.
"""

import importlib.util
import json
import os
import resource
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

FD_VARIABLE = "TIDEMARK_LAMBDA_FD"
LENGTH = struct.Struct("<I")
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


class LambdaContext:
    """What AWS passes as the second argument of a handler."""

    def __init__(self, request_id: str, deadline_ns: int) -> None:
        name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_name = name
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.invoked_function_arn = os.environ["TIDEMARK_FUNCTION_ARN"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.aws_request_id = request_id
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.identity = None
        self.client_context = None
        self._deadline_ns = deadline_ns

    def get_remaining_time_in_millis(self) -> int:
        """Until the environment is killed."""
        return max(0, self._deadline_ns - time.monotonic_ns()) // 1_000_000


def load_handler(path: Path, function: str, module_name: str) -> Callable[[Any, LambdaContext], Any]:
    """The handler of a file, under a module name of its own: every function's file is called handler.py."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    handler: Callable[[Any, LambdaContext], Any] = getattr(module, function)
    return handler


def send_frame(connection: socket.socket, data: bytes) -> None:
    """One frame."""
    connection.sendall(LENGTH.pack(len(data)) + data)


def receive_frame(connection: socket.socket) -> bytes | None:
    """One frame; None when the other side has gone."""
    head = _receive(connection, LENGTH.size)
    return None if head is None else _receive(connection, LENGTH.unpack(head)[0])


def _receive(connection: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(size - len(data), 1 << 20))
        if not part:
            return None
        data += part
    return bytes(data)


def _error(error: BaseException) -> dict[str, Any]:
    """An error as Lambda's Python runtime reports it; the trace goes to the log."""
    traceback.print_exception(error)
    return {"errorType": type(error).__name__, "errorMessage": str(error)}


def _answer(handler: Callable[[Any, LambdaContext], Any], head: dict[str, Any], event: bytes) -> bytes:
    context = LambdaContext(head["request_id"], head["deadline_ns"])
    try:
        result: dict[str, Any] = {"response": handler(json.loads(event), context)}
        result["rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT_BYTES
        return json.dumps(result).encode()
    except Exception as error:  # noqa: BLE001  the environment's outermost loop: any error of a handler is an answer
        return json.dumps({"error": _error(error)}).encode()


def main() -> int:
    """Serve until the host closes the socket."""
    connection = socket.socket(fileno=int(os.environ.pop(FD_VARIABLE)))
    file, _, function = os.environ["_HANDLER"].rpartition(".")
    name = os.environ["AWS_LAMBDA_FUNCTION_NAME"].replace("-", "_")
    try:
        handler = load_handler(Path(os.environ["LAMBDA_TASK_ROOT"]) / f"{file}.py", function, f"tidemark_lambda_{name}")
    except Exception as error:  # noqa: BLE001  whatever a module does when imported, the host must hear of it
        send_frame(connection, json.dumps({"init_error": _error(error)}).encode())
        return 1
    send_frame(connection, b'{"ready": true}')
    while (head := receive_frame(connection)) is not None and (event := receive_frame(connection)) is not None:
        send_frame(connection, _answer(handler, json.loads(head), event))
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
