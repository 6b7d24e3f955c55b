"""The built pages: what is served, kept and packed, and what is said when they are not built."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from starlette.datastructures import Headers
from starlette.responses import Response

from city_platform.dashboard import pages as module
from city_platform.dashboard.pages import Pages, UnreadablePages, load_pages

SCRIPT = b"export const lamps = 'many';\n" * 50


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    (tmp_path / "index.html").write_text("<!doctype html><title>Lamplighter</title>")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "app-AB12CD34.js").write_bytes(SCRIPT)
    (tmp_path / "icon.png").write_bytes(b"\x89PNG" * 500)
    return Pages(load_pages(tmp_path))


def ask(pages: Pages, path: str, method: str = "GET", **headers: str) -> Response:
    return pages.answer(
        method, path, Headers({name.replace("_", "-"): value for name, value in headers.items()})
    )


@pytest.mark.parametrize("path", ["/", "/index.html", "/devices/lamp-1", "/set-up", "/a/b/c"])
def test_places_inside_the_application_are_its_page(pages: Pages, path: str) -> None:
    answer = ask(pages, path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"


def test_what_is_named_after_its_content_is_kept_for_ever(pages: Pages) -> None:
    answer = ask(pages, "/assets/app-AB12CD34.js")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert bytes(answer.body) == SCRIPT


def test_what_packs_is_packed_for_who_takes_it(pages: Pages) -> None:
    answer = ask(pages, "/assets/app-AB12CD34.js", accept_encoding="br, gzip;q=0.5")
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(bytes(answer.body)) == SCRIPT
    assert answer.headers["content-length"] == str(len(bytes(answer.body)))
    assert "content-encoding" not in ask(pages, "/icon.png", accept_encoding="gzip").headers
    refused = ask(pages, "/assets/app-AB12CD34.js", accept_encoding="gzip;q=0, br")
    assert "content-encoding" not in refused.headers


def test_what_a_browser_has_is_not_sent_again(pages: Pages) -> None:
    etag = ask(pages, "/").headers["etag"]
    assert ask(pages, "/", if_none_match=f'"other", W/{etag}').status_code == 304
    assert ask(pages, "/", if_none_match='"other"').status_code == 200


def test_pages_are_read_and_no_more(pages: Pages) -> None:
    assert bytes(ask(pages, "/", "HEAD").body) == b""
    answer = ask(pages, "/", "POST")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert ask(pages, "/missing.js").status_code == 404


def test_pages_that_are_not_built_say_what_to_do(tmp_path: Path) -> None:
    pages = Pages(load_pages(tmp_path / "nothing"))
    assert not pages.are_built
    for accept, kind in (
        ("text/html,*/*", "text/html; charset=utf-8"),
        ("application/json", "application/problem+json"),
        ("*/*", "application/problem+json"),
    ):
        for path in ("/", "/devices/lamp-1", "/assets/app.js"):
            answer = ask(pages, path, accept=accept)
            assert (answer.status_code, answer.headers["content-type"]) == (503, kind)
            assert b"make dashboard" in bytes(answer.body)
    # As any page: a head without its body.
    assert ask(pages, "/", "HEAD", accept="text/html").body == b""
    assert ask(pages, "/", "POST", accept="text/html").status_code == 405


def test_a_folder_that_holds_more_than_pages_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGES_BYTES_MAX", 10)
    (tmp_path / "large.js").write_bytes(b"x" * 11)
    with pytest.raises(UnreadablePages, match="no pages"):
        load_pages(tmp_path)
