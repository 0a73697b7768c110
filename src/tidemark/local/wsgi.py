"""A threaded HTTP/1.1 server for moto's WSGI application that keeps connections open.

werkzeug's own server closes every connection and waits ten milliseconds on it; with a record every few milliseconds
that is most of the work. Requests and replies here are whole in memory: they are AWS API calls of a few megabytes.
"""

import io
from collections.abc import Callable, Iterable
from http.server import ThreadingHTTPServer
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class WsgiServer(ThreadingHTTPServer):
    """Serves one WSGI application on 127.0.0.1; `port` 0 takes a free one."""

    daemon_threads = True
    request_queue_size = 128
    # what werkzeug's handler asks its server for
    multithread = True
    multiprocess = False
    ssl_context = None

    def __init__(self, port: int, app: WsgiApp) -> None:
        self.app = app
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])


class _Handler(MotoRequestHandler):  # type: ignore[misc]
    """moto's translation of a request to WSGI, with the connection kept and the reply sent in one piece."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    close_connection: bool

    def run_wsgi(self) -> None:
        environ = self.make_environ()
        chunked = environ.get("wsgi.input_terminated", False)
        body = environ["wsgi.input"].read() if chunked else self.rfile.read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        head: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
            head[:] = [(status, headers)]
            return parts.append

        parts: list[bytes] = []
        reply = self.server.app(environ, start_response)
        try:
            parts.extend(reply)
        finally:
            if hasattr(reply, "close"):
                reply.close()
        self._send(*head[0], b"".join(parts))

    def _send(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        lines = [f"HTTP/1.1 {status}"]
        names = set()
        for name, value in headers:
            names.add(name.lower())
            lines.append(f"{name}: {value}")
        if "content-length" not in names and not status.startswith(("204", "304")):
            lines.append(f"Content-Length: {len(body)}")
        if self.close_connection:
            lines.append("Connection: close")
        try:
            self.wfile.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (b"" if self.command == "HEAD" else body))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client went away; nobody to tell
