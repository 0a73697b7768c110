"""Children of the laptop stage: started in their own process group, bound to our life, found again if they hide.

Three guards against a process that outlives its stage: the kernel signals the child when we die (Linux), every child is
killed by process group, and a tag in the environment finds grandchildren that left their group.
"""

import ctypes
import errno
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tidemark.errors import UnavailableError

READY_FD = "TIDEMARK_READY_FD"
RUN_TAG = "TIDEMARK_RUN_TAG"
PORTS_TRIED_MAX = 50
TAIL_BYTES = 8_192
DISK_FULL_TEXT = os.strerror(errno.ENOSPC)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class OsUser:
    """The account that a child runs as, where it may not be ours."""

    name: str
    uid: int
    gid: int

    @classmethod
    def named(cls, name: str) -> "OsUser":
        entry = pwd.getpwnam(name)
        return cls(name, entry.pw_uid, entry.pw_gid)


@dataclass(frozen=True, slots=True)
class Port:
    """A free TCP port of 127.0.0.1; `note` tells the user when it is not the one that was asked for."""

    number: int
    note: str | None = None


def free_port(preferred: int | None = None) -> Port:
    """`preferred` if it is free, else the next free one with a note; any free port when nothing is preferred.

    Raises UnavailableError when the next PORTS_TRIED_MAX ports are all taken.
    """
    if preferred is None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return Port(int(probe.getsockname()[1]))
    for number in range(preferred, min(preferred + PORTS_TRIED_MAX, 65_536)):
        if _is_free(number):
            return Port(number, None if number == preferred else f"port {preferred} is in use, took {number}")
    raise UnavailableError(f"ports {preferred} to {preferred + PORTS_TRIED_MAX - 1} are all in use; choose another with --port")


def _is_free(number: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free for a listener
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True


def require_free_space(folder: Path, bytes_min: int) -> None:
    """Raises UnavailableError when the disk of `folder` holds less than `bytes_min`: better than half a run."""
    free = shutil.disk_usage(folder).free
    if free < bytes_min:
        raise UnavailableError(f"disk full: {folder} has {free >> 20} MiB left, at least {bytes_min >> 20} MiB are needed")


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    cwd: Path | None = None,
    user: OsUser | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
    pass_fds: Sequence[int] = (),
) -> "subprocess.Popen[bytes]":
    """Start a child in its own process group, output appended to `log`, signalled with `death_signal` when we die.

    Call it from a thread that lives as long as the stage: Linux sends the signal when the starting thread ends.
    Raises UnavailableError when the program cannot be started or its log cannot be opened.
    """
    parent = os.getpid()

    def bind_to_parent() -> None:  # in the child, after the change of user, which would clear the setting
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal))
            if os.getppid() != parent:
                os._exit(1)

    account: dict[str, Any] = {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": []}
    try:
        with log.open("ab") as sink:
            return subprocess.Popen(
                list(argv),
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                process_group=0,
                pass_fds=pass_fds,
                preexec_fn=bind_to_parent,
                **account,
            )
    except OSError as error:
        raise UnavailableError(f"cannot start {argv[0]}: {error.strerror} ({error.filename or log})") from error


def notify_ready(**facts: Any) -> None:
    """Tell the supervisor, if there is one, that this process serves now; `facts` are JSON values such as its port."""
    text = os.environ.pop(READY_FD, "")
    if text:
        fd = int(text)
        os.write(fd, json.dumps(facts).encode())
        os.close(fd)


def signal_group(child: "subprocess.Popen[bytes]", signum: signal.Signals) -> None:
    """Signal the child's whole process group; a group that is gone is fine."""
    try:
        os.killpg(child.pid, signum)
    except ProcessLookupError:
        return
    except PermissionError:  # macOS says so for a group of zombies
        return


def wait_until(ready: Callable[[], bool], *, timeout_s: float, step_s: float = 0.005) -> bool:
    """Whether `ready` came true in time. For the start of programs that cannot call us back, and for tests."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(step_s)
    return True


def tcp_ready(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def tagged(tag: str) -> list[psutil.Process]:
    """Living processes that carry `tag` in their environment, other than this one; zombies do not count."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and process.environ().get(RUN_TAG) == tag:
                found.append(process)
        except psutil.Error:  # gone meanwhile, or somebody else's
            continue
    return found


def descendants(pids: Sequence[int]) -> list[psutil.Process]:
    """What these processes started, and what that started in turn. PostgreSQL's own children carry no readable environment."""
    found: list[psutil.Process] = []
    for pid in pids:
        try:
            found += psutil.Process(pid).children(recursive=True)
        except psutil.NoSuchProcess:
            continue
    return found


def is_living(process: psutil.Process) -> bool:
    """Whether this very process still runs; a zombie does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def kill_left(family: Sequence[psutil.Process], tag: str, *, grace_s: float = 1.0, timeout_s: float = 2.0) -> list[str]:
    """SIGKILL what is left of `family` and whatever carries `tag`; returns `name (pid)` of each, for the report.

    `family` has `grace_s` to notice that its parent is gone, as PostgreSQL's processes do.
    """
    wait_until(lambda: not any(map(is_living, family)), timeout_s=grace_s)
    left = {process.pid: process for process in (*family, *tagged(tag)) if is_living(process)}
    names = []
    for process in left.values():
        try:
            names.append(f"{process.name()} ({process.pid})")
            process.kill()
        except psutil.NoSuchProcess:
            continue
    if left:
        wait_until(lambda: not any(map(is_living, left.values())), timeout_s=timeout_s)
    return names


def log_tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def exit_reason(returncode: int, log: Path) -> str:
    """Why a child ended, in words; a full disk is named, whatever the program made of it."""
    if DISK_FULL_TEXT in log_tail(log):
        return f"disk full ({DISK_FULL_TEXT}, see {log})"
    if returncode < 0:
        return f"killed by {signal.Signals(-returncode).name}"
    return f"exit {returncode}"
