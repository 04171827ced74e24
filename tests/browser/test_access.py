"""Who may see the pages: nobody without a login, nobody without access to the DAG."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message

import jwt
import pytest

from stack.rest import OPENER
from tests.support.night import Night

# Every route of the app, found by walking it below, with parameters filled in.
FILLED = {"{run_id}": "1", "{number}": "0", "{name:path}": "style.css", "{path:path}": "elsewhere"}
SECRETS = (b"a cat that nobody may see", b"clip_scoring/", b"records", b"Traceback")


def routes() -> list[str]:
    """The address of each route, as the app itself lists them."""
    from clip_airflow.web.app import create_app

    found = []
    for each in create_app()._app.routes:  # type: ignore[attr-defined]
        path = each.path
        for name, value in FILLED.items():
            path = path.replace(name, value)
        assert "{" not in path, f"fill {path}"
        found.append(path)
    return found


def ask(
    url: str, headers: Mapping[str, str] | None = None, *, method: str = "GET"
) -> tuple[int, Message, bytes]:
    request = urllib.request.Request(url, headers=dict(headers or {}), method=method)
    try:
        with OPENER.open(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


@pytest.fixture(scope="module")
def scored(night: Night) -> Iterator[Night]:
    """One finished run, and a record that must not leak."""
    night.world.sql(
        "INSERT INTO clip.record (key, image_uri, caption, created_at) "
        "VALUES (1000, 'images/140.webp', 'a cat that nobody may see', '2026-01-02')"
    )
    assert night.ended(night.trigger(limit=50)) == "success"
    return night


def token_of(night: Night, **changes: object) -> str:
    """The administrator's token with other claims, signed with the stack's own key."""
    header = jwt.get_unverified_header(night.api.token)
    claims = jwt.decode(night.api.token, options={"verify_signature": False})
    key = night.site.state.keys().jwt
    return jwt.encode({**claims, **changes}, key, algorithm=header["alg"])


def test_the_app_has_the_routes_that_are_asked_for_below() -> None:
    assert {"/runs", "/runs/1", "/runs/1/pairs", "/runs/1/shards/0", "/pairs", "/picture",
            "/static/style.css", "/elsewhere"} <= set(routes())  # fmt: skip


def test_the_app_describes_itself_to_nobody(scored: Night) -> None:
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert ask(f"{scored.site.url}/clip{path}")[0] == 401
        assert ask(f"{scored.site.url}/clip{path}", bearer(scored.api.token))[0] == 404


@pytest.mark.parametrize("query", ["", "?user=admin", "?user=x&source=records&key=1000"])
def test_without_a_login_every_route_answers_401_and_tells_nothing(
    scored: Night, query: str
) -> None:
    for path in routes():
        status, _, body = ask(f"{scored.site.url}/clip{path}{query}")
        assert status == 401, path
        assert not any(secret in body for secret in SECRETS), path


def test_forged_and_expired_tokens_open_nothing(scored: Night) -> None:
    past = int(time.time()) - 60
    forged = {
        "not a token": "abc",
        "another key": jwt.encode({"sub": "admin", "role": "admin"}, "x" * 64, algorithm="HS512"),
        "no signature": jwt.encode({"sub": "admin", "role": "admin"}, "", algorithm="none"),
        "expired": token_of(scored, exp=past, iat=past - 60, nbf=past - 60),
    }
    for name, token in forged.items():
        for path in routes():
            for headers in (bearer(token), {"Cookie": f"_token={token}"}):
                status, _, body = ask(f"{scored.site.url}/clip{path}", headers)
                assert status in {401, 403}, (name, path)
                assert not any(secret in body for secret in SECRETS), (name, path)


def test_a_user_without_access_to_the_dag_sees_none_of_its_runs(scored: Night) -> None:
    nobody = bearer(token_of(scored, sub="visitor", role=None))
    for path in routes():
        status, _, body = ask(f"{scored.site.url}/clip{path}", nobody)
        assert status == 403, path
        assert not any(secret in body for secret in SECRETS), path


def test_a_viewer_sees_the_runs(scored: Night) -> None:
    viewer = bearer(token_of(scored, sub="watcher", role="viewer"))
    status, headers, body = ask(f"{scored.site.url}/clip/runs", viewer)
    assert status == 200
    assert b"Runs, newest first" in body
    assert headers["content-type"].startswith("text/html")


def test_nothing_can_be_written(scored: Night) -> None:
    for path in routes():
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            status, _, _ = ask(
                f"{scored.site.url}/clip{path}", bearer(scored.api.token), method=method
            )
            assert status == 405, (method, path)


def test_every_answer_has_the_security_headers(scored: Night) -> None:
    for path in (*routes(), "/runs/999", "/runs/x"):
        for token in ("", scored.api.token):
            _, headers, _ = ask(f"{scored.site.url}/clip{path}", bearer(token) if token else {})
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'"), path
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff", path
            assert headers["cache-control"] in {
                "no-store", "private, max-age=300", "private, max-age=3600",
            }, path  # fmt: skip


def test_the_pages_read_under_a_login_that_cannot_write(scored: Night) -> None:
    reader = scored.site.reader
    assert reader is not None
    found = scored.world.sql(
        "SELECT has_table_privilege(:name, 'clip.score', 'SELECT'), "
        "has_table_privilege(:name, 'clip.score', 'INSERT, UPDATE, DELETE'), "
        "rolsuper FROM pg_roles WHERE rolname = :name",
        name=reader.user,
    )
    assert found == [(True, False, False)]


@pytest.mark.parametrize(
    ("uri", "served"),
    [
        ("images/140.webp", True),
        ("../keys.json", False),
        ("/etc/passwd", False),
        ("file:///etc/hostname", False),
        ("http://127.0.0.1:{port}/clip/static/style.css", False),
        ("s3://anywhere/cat.jpg", False),
        ("records.json", False),
    ],
)
def test_pictures_come_from_allowed_places_only(scored: Night, uri: str, served: bool) -> None:
    scored.world.sql(
        "UPDATE clip.record SET image_uri = :uri WHERE key = 1000",
        uri=uri.format(port=scored.site.port),
    )
    status, headers, body = ask(
        f"{scored.site.url}/clip/picture?source=records&key=1000", bearer(scored.api.token)
    )
    if served:
        assert (status, headers["content-type"]) == (200, "image/jpeg")
        assert body.startswith(b"\xff\xd8")
    else:
        assert status == 404
        assert b"root:" not in body


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
