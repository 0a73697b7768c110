"""`python -m tidemark.dashboard`: serve the page on this machine until told to stop."""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence

import uvicorn

from tidemark.dashboard.app import build_app
from tidemark.dashboard.guard import hosts_for
from tidemark.dashboard.hub import Hub
from tidemark.errors import InputError, bad_input

LOOPBACK = ("127.0.0.1", "::1", "localhost")
AUTH_TOKEN = "CACHE_AUTH_TOKEN"  # environment: the bus' password, never an argument, which every user of the machine could read
READY_FD = "TIDEMARK_READY_FD"  # environment: somebody started us and waits to hear that we serve
STOP_S = 2  # open streams are ended at once; whatever still hangs is cut off


class Server(uvicorn.Server):  # type: ignore[misc]  # uvicorn is not followed by mypy
    """uvicorn's server, which says when it serves and ends the browsers' streams first: it would wait for them to end on their own."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets and os.environ.get(READY_FD):
            from tidemark.local.processes import notify_ready

            notify_ready(port=sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.close()
        await super().shutdown(sockets)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket on this machine. Raises InputError when the address is not local or the port is taken."""
    if host not in LOOPBACK:
        raise bad_input("dashboard", "host", host, f"one of {', '.join(LOOPBACK)}", "the page has no login; reach it from afar by ssh -L")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise bad_input("dashboard", "port", port, "a free port of this machine", str(error)) from error


def serve(host: str, port: int, redis_host: str, redis_port: int, auth_token: str | None = None) -> None:
    """Serve until SIGINT or SIGTERM. Port 0 takes any free one; the address is written to standard output."""
    with bind(host, port) as listening:
        bound = listening.getsockname()[1]
        hub = Hub()
        app = build_app(redis_host, redis_port, hosts_for(host, bound), hub=hub, auth_token=auth_token)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=STOP_S, timeout_keep_alive=5
        )
        sys.stdout.write(f"dashboard on http://{f'[{host}]' if ':' in host else host}:{bound}\n")
        sys.stdout.flush()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)  # uvicorn raises it again once it has stopped; being told to stop is no failure
        Server(config, hub).run(sockets=[listening])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tidemark.dashboard", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port of the page, 0 for any free one (default %(default)s)")
    parser.add_argument("--redis-host", default="127.0.0.1", help="host of the page bus (default %(default)s)")
    parser.add_argument("--redis-port", type=int, required=True, help="port of the page bus")
    arguments = parser.parse_args(argv)
    try:
        serve(arguments.host, arguments.port, arguments.redis_host, arguments.redis_port, os.environ.get(AUTH_TOKEN))
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
