"""The app that the API server mounts: deny by default, read only, nothing from elsewhere."""

# No postponed annotations here: FastAPI would take `user` for a query parameter where it cannot
# resolve the name of its type, and let `?user=x` in.

import logging
from pathlib import Path

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clip_airflow.web.routes import pages
from clip_airflow.web.templating import render
from clip_scoring.errors import ClipScoringError

log = logging.getLogger(__name__)

DAG = "clip_scoring"
STATIC = Path(__file__).with_name("static")
SERVED = {
    "style.css": "text/css",
    "theme.js": "text/javascript",
    "charts.js": "text/javascript",
    "vendor/chart-4.6.1.umd.min.js": "text/javascript",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
may_read = Depends(requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id=DAG))
"""Whoever may see the runs of our DAG; everybody else gets 401 or 403, on every route."""


def create_app() -> ASGIApp:
    """The app with its headers, ready to be mounted."""
    app = FastAPI(
        title="CLIP runs",
        dependencies=[may_read],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.include_router(pages)
    app.get("/static/{name:path}")(static)
    app.get("/{path:path}")(nowhere)
    app.exception_handler(AnyHTTPException)(refused)
    app.exception_handler(RequestValidationError)(misunderstood)
    app.exception_handler(ClipScoringError)(broken)
    return WithHeaders(app)


def static(name: str) -> Response:
    """One of our own files, by a name that is listed."""
    if name not in SERVED:
        raise HTTPException(404, "there is no such file")
    caching = {"Cache-Control": "private, max-age=3600"}
    return FileResponse(STATIC / name, media_type=SERVED[name], headers=caching)


def nowhere(path: str) -> Response:
    """Every other address, so that it too asks who is there first."""
    del path
    raise HTTPException(404, "there is no such page")


def refused(request: Request, why: Exception) -> Response:
    """An error that the client caused, or is not allowed to know more about."""
    status = getattr(why, "status_code", 500)
    detail = str(getattr(why, "detail", "")) if status not in {401, 403} else ""
    headers = getattr(why, "headers", None)
    return HTMLResponse(_error_page(request, status, detail), status, headers=headers)


def misunderstood(request: Request, why: Exception) -> Response:
    """A parameter of the address that is not what it should be."""
    del why
    return HTMLResponse(_error_page(request, 400, "the address is not understood"), 400)


def broken(request: Request, why: Exception) -> Response:
    """Something behind the pages does not work; the log says more than the page."""
    log.warning("%s: %s", request.url.path, why)
    return HTMLResponse(_error_page(request, 503, str(why)), 503)


def _error_page(request: Request, status: int, detail: str) -> str:
    return render(request, "error.html", status=status, detail=detail)


class WithHeaders:
    """Adds the security headers to every answer, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                added: list[tuple[bytes, bytes]] = [
                    (name.lower().encode(), value.encode()) for name, value in HEADERS.items()
                ]
                if b"cache-control" not in present:
                    added.append((b"cache-control", b"no-store"))
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, send_with_headers)
