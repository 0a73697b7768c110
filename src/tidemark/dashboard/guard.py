"""What every request must pass and every answer must carry: a page about money, on a port that any local web page can reach.

The Host header is checked against the names we listen on, which stops DNS rebinding; only GET and HEAD exist; the content security
policy lets nothing load but this server's own files, and no inline script or style.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=()"),
)
METHODS = ("GET", "HEAD")


class Guard:
    """ASGI middleware. `hosts` are the accepted Host headers, with port."""

    def __init__(self, app: App, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        hosts = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            await _refuse(send, 421, "This server does not answer for that host name.")
        elif scope["method"] not in METHODS:
            await _refuse(send, 405, "Read only: GET and HEAD.")
        else:
            await self._app(scope, receive, _with_headers(send))


def hosts_for(host: str, port: int) -> frozenset[str]:
    """Names under which a browser on this machine may ask for a server that listens on `host`:`port`."""
    names = {host.lower(), "localhost", "127.0.0.1", "[::1]"}
    ported = {f"[{name}]:{port}" if ":" in name and not name.startswith("[") else f"{name}:{port}" for name in names}
    return frozenset(ported | names) if port == 80 else frozenset(ported)


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
        await send(message)

    return sending


async def _refuse(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
