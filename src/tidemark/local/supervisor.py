"""Starts the programs of a stage, notices any exit at once, and leaves nothing behind.

One thread, one selector: exits arrive by pidfd, readiness by pipe, signals by the wake-up socket. Nothing is polled
but readiness of programs that cannot call us back (PostgreSQL, Redis) and, once a second, the free disk space.
"""

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import msgspec

from tidemark.errors import UnavailableError
from tidemark.local.processes import (
    READY_FD,
    RUN_TAG,
    OsUser,
    descendants,
    exit_reason,
    kill_left,
    log_tail,
    require_free_space,
    signal_group,
    spawn,
)

DISK_BYTES_MIN = 64 << 20  # chosen: room for a clean stop, its logs and a summary
DISK_CHECK_S = 1.0
PROBE_STEP_S = 0.01
RESTARTS_MAX = 3
RESTART_WINDOW_S = 60.0
KILL_WAIT_S = 5.0


class OnExit(StrEnum):
    """What an exit that nobody asked for means."""

    STOP = "stop"  # the stage cannot go on
    RESTART = "restart"  # up to RESTARTS_MAX times in RESTART_WINDOW_S, then as STOP
    FINISH = "finish"  # exit 0 is the end of its work; anything else as STOP


class State(StrEnum):
    """Life of a child."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One program of the stage.

    `phase` orders the stop: the highest phase first, children of one phase together. Ready when `probe` answers True;
    without a probe when the child calls `processes.notify_ready`; at once when `awaited` is False.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    phase: int = 0
    probe: Callable[[], bool] | None = None
    awaited: bool = True
    ready_timeout_s: float = 30.0
    on_exit: OnExit = OnExit.STOP
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 10.0
    death_signal: signal.Signals = signal.SIGKILL
    cwd: Path | None = None
    user: OsUser | None = None


@dataclass(frozen=True, slots=True)
class ChildEvent:
    """A change of one child, for the console, the page and the log."""

    name: str
    state: State
    pid: int
    reason: str = ""


@dataclass(slots=True)
class Child:
    """A started program and what is known of it."""

    spec: ChildSpec
    process: "subprocess.Popen[bytes]"
    log: Path
    state: State
    deadline_s: float
    exit_fd: int
    ready_fd: int | None
    facts: dict[str, Any] = field(default_factory=dict)
    restarts: deque[float] = field(default_factory=deque)

    @property
    def alive(self) -> bool:
        return self.process.returncode is None


class Supervisor:
    """Use as a context manager: signals are caught inside it, and leaving it stops everything that was started."""

    def __init__(
        self, run_dir: Path, *, on_event: Callable[[ChildEvent], None] | None = None, disk_bytes_min: int = DISK_BYTES_MIN
    ) -> None:
        self.run_dir = run_dir
        self.tag = uuid.uuid4().hex
        self.children: dict[str, Child] = {}
        self.stop_reason: str | None = None
        self._on_event = on_event or (lambda event: None)
        self._disk_bytes_min = disk_bytes_min
        self._disk_checked_s = 0.0
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._handlers: dict[int, Any] = {}
        self._signals_seen = 0
        for end in (self._wake_read, self._wake_write):
            end.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._logs = run_dir / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        require_free_space(run_dir, disk_bytes_min)

    def __enter__(self) -> "Supervisor":
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._handlers[signum] = signal.signal(signum, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.stop()
        finally:
            for signum, handler in self._handlers.items():
                signal.signal(signum, handler)
            self._selector.close()
            self._wake_read.close()
            self._wake_write.close()

    def start(self, spec: ChildSpec) -> Child:
        """Start one program; does not wait for it. Raises UnavailableError when it cannot be started at all."""
        assert spec.name not in self.children, f"{spec.name} was started before"
        child = self._launch(spec)
        self.children[spec.name] = child
        return child

    def wait_ready(self, names: Sequence[str] | None = None) -> None:
        """Until the named children (default: all) serve. Raises UnavailableError with the log's end if one does not."""
        wanted = [self.children[name] for name in (names or self.children)]
        while any(child.state is State.STARTING for child in wanted) and self.stop_reason is None:
            probing = any(child.spec.probe is not None and child.state is State.STARTING for child in wanted)
            self._step(PROBE_STEP_S if probing else 0.1)
            self._expire(wanted)
        if self.stop_reason is not None:
            raise UnavailableError(self.stop_reason)

    def run(
        self, *, until: Callable[[], bool] | None = None, on_tick: Callable[[], None] | None = None, tick_s: float = 0.25
    ) -> str | None:
        """Watch until a child ends the stage, a signal arrives or `until` says so; `on_tick` runs about every `tick_s`.

        Returns the reason of the stop, None when `until` ended it. The children still run: `stop()` ends them.
        """
        while self.stop_reason is None and not (until is not None and until()):
            self._step(tick_s)
            self._check_disk()
            if on_tick is not None:
                on_tick()
        return self.stop_reason

    def drain(self, name: str, *, timeout_s: float) -> None:
        """Ask a child (SIGUSR1) to work off its input and end. Raises UnavailableError when it does not in time, or the stage ends."""
        child = self.children[name]
        child.state = State.STOPPING
        child.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + timeout_s
        while child.alive and self.stop_reason is None and time.monotonic() < deadline:
            self._step(0.05)
        if self.stop_reason is not None:
            raise UnavailableError(self.stop_reason)
        if child.alive:
            raise UnavailableError(f"{name} did not work off its input in {timeout_s:g} s")
        if child.process.returncode != 0:
            raise UnavailableError(f"{name} ended while it worked off its input: {exit_reason(child.process.returncode, child.log)}")

    def stop(self) -> list[str]:
        """End every child, highest phase first: its stop signal, then SIGKILL. Returns what had to be killed."""
        killed: list[str] = []
        self._signals_seen = 0
        family = descendants([child.process.pid for child in self.children.values() if child.alive])
        for phase in sorted({child.spec.phase for child in self.children.values()}, reverse=True):
            killed += self._stop_phase([child for child in self.children.values() if child.spec.phase == phase and child.alive])
        return killed + kill_left(family, self.tag)

    def health(self) -> list[dict[str, Any]]:
        """Name, state and pid of every child, as the page shows them."""
        return [{"name": child.spec.name, "state": str(child.state), "pid": child.process.pid} for child in self.children.values()]

    def _launch(self, spec: ChildSpec) -> Child:
        log = self._logs / f"{spec.name}.log"
        env = {**spec.env, RUN_TAG: self.tag}
        ready_read, ready_write = os.pipe() if spec.awaited and spec.probe is None else (None, None)
        fds = () if ready_write is None else (ready_write,)
        try:
            process = spawn(
                spec.argv,
                env=env if ready_write is None else {**env, READY_FD: str(ready_write)},
                log=log,
                cwd=spec.cwd,
                user=spec.user,
                death_signal=spec.death_signal,
                pass_fds=fds,
            )
        except UnavailableError:
            if ready_read is not None:
                os.close(ready_read)
            raise
        finally:
            if ready_write is not None:
                os.close(ready_write)
        state = State.STARTING if spec.awaited else State.READY
        child = Child(spec, process, log, state, time.monotonic() + spec.ready_timeout_s, _exit_fd(process), ready_read)
        self._selector.register(child.exit_fd, selectors.EVENT_READ, child)
        if ready_read is not None:
            self._selector.register(ready_read, selectors.EVENT_READ, child)
        self._tell(child, "")
        return child

    def _step(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._wake_read.recv(64)
            elif key.fd == key.data.exit_fd:
                self._on_child_exit(key.data)
            else:
                self._on_child_ready(key.data)
        for child in self.children.values():
            if child.state is State.STARTING and child.alive and child.spec.probe is not None and child.spec.probe():
                child.state = State.READY
                self._tell(child, "")

    def _on_child_ready(self, child: Child) -> None:
        assert child.ready_fd is not None
        data = os.read(child.ready_fd, 65_536)
        self._close_ready(child)
        if data:
            child.facts = msgspec.json.decode(data, type=dict[str, Any])
            child.state = State.READY
            self._tell(child, "")

    def _on_child_exit(self, child: Child) -> None:
        returncode = child.process.wait()
        self._selector.unregister(child.exit_fd)
        os.close(child.exit_fd)
        self._close_ready(child)
        reason = exit_reason(returncode, child.log)
        if child.state is State.STOPPING:
            child.state = State.STOPPED
            self._tell(child, reason)
        elif child.spec.on_exit is OnExit.FINISH and returncode == 0:
            child.state = State.FINISHED
            self._tell(child, reason)
        elif child.spec.on_exit is OnExit.RESTART and self._may_restart(child):
            self._tell(child, f"{reason}, restarted")
            self._restart(child)
        else:
            child.state = State.FAILED
            self._tell(child, reason)
            self._end(f"{child.spec.name} ended: {reason}", child)

    def _may_restart(self, child: Child) -> bool:
        now = time.monotonic()
        while child.restarts and child.restarts[0] < now - RESTART_WINDOW_S:
            child.restarts.popleft()
        return len(child.restarts) < RESTARTS_MAX and self.stop_reason is None

    def _restart(self, child: Child) -> None:
        restarts = child.restarts
        restarts.append(time.monotonic())
        fresh = self._launch(child.spec)
        fresh.restarts = restarts
        self.children[child.spec.name] = fresh

    def _expire(self, wanted: Sequence[Child]) -> None:
        for child in wanted:
            if child.state is State.STARTING and time.monotonic() > child.deadline_s:
                self._end(f"{child.spec.name} was not ready in {child.spec.ready_timeout_s:g} s", child)

    def _end(self, reason: str, child: Child) -> None:
        tail = log_tail(child.log)
        if self.stop_reason is None:
            self.stop_reason = f"{reason}\n{tail}" if tail else reason

    def _stop_phase(self, children: list[Child]) -> list[str]:
        for child in children:
            child.state = State.STOPPING
            child.process.send_signal(child.spec.stop_signal)
        deadline = time.monotonic() + max((child.spec.stop_timeout_s for child in children), default=0.0)
        while any(child.alive for child in children) and time.monotonic() < deadline and not self._signals_seen:
            self._step(0.05)
        stubborn = [child for child in children if child.alive]
        for child in stubborn:
            signal_group(child.process, signal.SIGKILL)
        deadline = time.monotonic() + KILL_WAIT_S
        while any(child.alive for child in stubborn) and time.monotonic() < deadline:
            self._step(0.05)
        for child in children:
            signal_group(child.process, signal.SIGKILL)  # what the child itself started and left behind
        return [child.spec.name for child in stubborn]

    def _check_disk(self) -> None:
        if time.monotonic() - self._disk_checked_s < DISK_CHECK_S or self.stop_reason is not None:
            return
        self._disk_checked_s = time.monotonic()
        try:
            require_free_space(self.run_dir, self._disk_bytes_min)
        except UnavailableError as error:
            self.stop_reason = str(error)

    def _close_ready(self, child: Child) -> None:
        if child.ready_fd is not None:
            self._selector.unregister(child.ready_fd)
            os.close(child.ready_fd)
            child.ready_fd = None

    def _tell(self, child: Child, reason: str) -> None:
        self._on_event(ChildEvent(child.spec.name, child.state, child.process.pid, reason))

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self._signals_seen += 1
        if self.stop_reason is None:
            self.stop_reason = f"stopped by {signal.Signals(signum).name}"
        with contextlib.suppress(BlockingIOError):
            self._wake_write.send(b"s")


def _exit_fd(process: "subprocess.Popen[bytes]") -> int:
    """A descriptor that becomes readable when the process ends: a pidfd, or where there is none a pipe and a waiting thread."""
    if hasattr(os, "pidfd_open"):
        return os.pidfd_open(process.pid)
    read, write = os.pipe()

    def wait() -> None:
        process.wait()
        os.close(write)

    threading.Thread(target=wait, daemon=True, name=f"wait-{process.pid}").start()
    return read
