"""The dashboard's web application: one page, its files, its state as JSON and its live stream. Read only.

Charts use plotly's script from the installed plotly package; where that is absent the page says so and shows everything else.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tidemark.adapters.page_feed import listen
from tidemark.dashboard.guard import Guard
from tidemark.dashboard.hub import Hub

STATIC = Path(str(files("tidemark.dashboard"))) / "static"
NO_STORE = {"cache-control": "no-store"}
REVALIDATE = {"cache-control": "no-cache"}
STYLE_IDS_HERE = "<!-- plotly style ids -->"
STYLE_ID = re.compile(r'getElementById\("([0-9a-f]{64})"\)')


def build_app(
    redis_host: str, redis_port: int, hosts: frozenset[str], *, hub: Hub | None = None, auth_token: str | None = None
) -> Starlette:
    """The application. `hosts` are the accepted Host headers; the bus is read for as long as the application runs."""
    hub = hub or Hub()

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        reading = asyncio.create_task(listen(redis_host, redis_port, hub, auth_token))
        yield
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading

    html = page_html()

    async def page(_: Request) -> Response:
        return HTMLResponse(html, headers=REVALIDATE)

    async def state(_: Request) -> Response:
        return Response(msgspec.json.encode(hub.state.snapshot()), media_type="application/json", headers=NO_STORE)

    async def events(_: Request) -> Response:
        if hub.is_full:
            return PlainTextResponse("Too many open pages.", 503, headers={**NO_STORE, "retry-after": "5"})
        return StreamingResponse(hub.stream(), media_type="text/event-stream", headers={**NO_STORE, "x-accel-buffering": "no"})

    async def plotly(_: Request) -> Response:
        script = plotly_script()
        if script is None:
            return PlainTextResponse("plotly is not installed", 404, headers=NO_STORE)
        return FileResponse(script, media_type="text/javascript", headers=REVALIDATE)

    routes = [
        Route("/", page),
        Route("/api/state", state),
        Route("/events", events),
        Route("/vendor/plotly.min.js", plotly),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Starlette(routes=routes, lifespan=lifespan, middleware=[Middleware(Guard, hosts=hosts)])


def page_html() -> str:
    """The page, with an element for each style sheet that plotly's script would write into it, which our policy forbids.

    The script leaves a sheet out when an element with its id exists. The ids are content hashes, so they are read from the script. (They
    belong to maps, which the page does not draw.)
    """
    script = plotly_script()
    ids = sorted(set(STYLE_ID.findall(script.read_text("utf-8")))) if script else []
    kept_out = "\n".join(f'<meta name="plotly-style" id="{style_id}">' for style_id in ids)
    return (STATIC / "index.html").read_text("utf-8").replace(STYLE_IDS_HERE, kept_out)


def plotly_script() -> Path | None:
    """plotly's own script inside the installed package."""
    spec = find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        return None
    script = Path(spec.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    return script if script.is_file() else None
