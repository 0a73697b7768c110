"""The host's side of a Lambda execution environment: start, invoke, time out, replace."""

import json
import signal
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import tidemark
from tidemark.errors import UnavailableError
from tidemark.local.lambda_worker import FD_VARIABLE, receive_frame, send_frame
from tidemark.local.lanes import Outcome
from tidemark.local.processes import signal_group, spawn
from tidemark.local.resources import FunctionSpec
from tidemark.units import NS_PER_S

INIT_TIMEOUT_S = 60.0  # Lambda allows 10; a laptop that compiles kernels for the first time needs more


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of the function: what came of it, how long it took, the most memory the environment has used."""

    outcome: Outcome
    duration_ns: int
    rss_bytes: int = 0
    timed_out: bool = False


def lambda_environment(spec: FunctionSpec, folder: Path, region: str) -> dict[str, str]:
    """The function's own variables and the ones that Lambda's Python runtime sets."""
    return {
        **spec.env,
        "AWS_LAMBDA_FUNCTION_NAME": spec.physical_name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(spec.memory_mb),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{spec.physical_name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "local/[$LATEST]",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "LAMBDA_TASK_ROOT": str(folder),
        "TIDEMARK_FUNCTION_ARN": spec.arn,
        "POWERTOOLS_TRACE_DISABLED": "true",
        "_HANDLER": spec.handler,
        "TZ": "UTC",
        "PYTHONPATH": str(Path(tidemark.__file__).parents[1]),
        "PYTHONUNBUFFERED": "1",
    }


class Environment:
    """One execution environment. Not for concurrent use: Lambda too sends an environment one event at a time."""

    def __init__(self, spec: FunctionSpec, env: dict[str, str], log: Path) -> None:
        self._spec = spec
        self._env = env
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def start(self) -> None:
        """Start the process and load the handler. Raises UnavailableError with the reason when it cannot be loaded."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = spawn(
                [sys.executable, "-m", "tidemark.local.lambda_worker"],
                env={**self._env, FD_VARIABLE: str(theirs.fileno())},
                log=self._log,
                pass_fds=(theirs.fileno(),),
            )
        self._connection = ours
        ours.settimeout(INIT_TIMEOUT_S)
        try:
            reply = receive_frame(ours)
        except TimeoutError:
            reply = b'{"init_error": {"errorMessage": "the handler did not load in time"}}'
        answer: dict[str, Any] = msgspec.json.decode(reply) if reply else {"init_error": {"errorMessage": "the process ended, see its log"}}
        if "init_error" in answer:
            self.stop()
            detail = answer["init_error"]
            raise UnavailableError(f"{self._spec.name}: {detail.get('errorType', 'Runtime.InitError')}: {detail['errorMessage']}")

    def invoke(self, event: bytes) -> Invocation:
        """Call the handler with a JSON event; an environment that overruns its time or dies is replaced by the next call."""
        began_ns = time.monotonic_ns()
        if self._connection is None:
            self.start()
            began_ns = time.monotonic_ns()
        connection = self._connection
        assert connection is not None
        deadline_ns = began_ns + self._spec.timeout_s * NS_PER_S
        head = json.dumps({"request_id": str(uuid.uuid4()), "deadline_ns": deadline_ns}).encode()
        connection.settimeout(max((deadline_ns - time.monotonic_ns()) / NS_PER_S, 0.001))
        try:
            send_frame(connection, head)
            send_frame(connection, event)
            reply = receive_frame(connection)
        except TimeoutError:
            self.stop()
            error = f"Task timed out after {self._spec.timeout_s}.00 seconds"
            return Invocation(Outcome(error), time.monotonic_ns() - began_ns, timed_out=True)
        except OSError:
            reply = None
        duration_ns = time.monotonic_ns() - began_ns
        if reply is None:
            returncode = self.stop()
            return Invocation(Outcome(f"Runtime.ExitError: the environment ended with {returncode}"), duration_ns)
        return _invocation(reply, duration_ns)

    def stop(self) -> int | None:
        """End the process at once, with what it started; its exit status, None if there was no process."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is None:
            return None
        process, self._process = self._process, None
        try:
            returncode = process.wait(0.05)  # one that ended by itself keeps its own status
        except subprocess.TimeoutExpired:
            returncode = None
        signal_group(process, signal.SIGKILL)
        return process.wait() if returncode is None else returncode


def _invocation(reply: bytes, duration_ns: int) -> Invocation:
    answer: dict[str, Any] = msgspec.json.decode(reply)
    error = answer.get("error")
    outcome = Outcome(response=answer.get("response")) if error is None else Outcome(f"{error['errorType']}: {error['errorMessage']}")
    return Invocation(outcome, duration_ns, answer.get("rss_bytes", 0))
