"""What it takes to drive the pages: a Chromium of this machine, the bundle, and helpers."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.processes import line_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[4]
WEB = ROOT / "city_platform" / "dashboard" / "web"
DIST = WEB / "dist"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# As root Chromium has no sandbox.
ARGUMENTS = ["--no-sandbox"]
FIXTURE_PASSWORD = "correct horse battery"


class Missing(Exception):
    """The pages cannot be driven here; the text says what it takes."""


def chromium_program() -> str:
    """The browser. Raises `Missing`."""
    if importlib.util.find_spec("playwright") is None:
        raise Missing("needs the package playwright (the `test` extra)")
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        raise Missing(f"needs one of {', '.join(PROGRAMS)} on this machine")
    if not (DIST / "index.html").exists():
        raise Missing("needs the dashboard's pages: run `make dashboard`")
    return found


def chromium() -> str:
    """The browser; skips the test, saying why, where something is missing."""
    try:
        return chromium_program()
    except Missing as error:
        pytest.skip(str(error))


@contextlib.contextmanager
def fixture_server(devices: int, changes_per_s: int = 0) -> Iterator[str]:
    """The address of a made-up city."""
    program = Path(__file__).with_name("fixture_server.py")
    process = subprocess.Popen(
        [sys.executable, str(program), str(DIST), str(devices), str(changes_per_s)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield line_of(process)
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def opened_browser() -> Iterator[Browser]:
    """A headless Chromium."""
    program = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened_page(
    browser: Browser, address: str, *, width: int = 1280, height: int = 800, theme: str = "light"
) -> Iterator[Page]:
    """A page of its own session. What a page logs as an error fails the test."""
    context = browser.new_context(
        base_url=address,
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
    )
    context.set_default_timeout(30_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: "Security Policy" in said.text and errors.append(said.text))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    try:
        yield page
        assert errors == []
        outside = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
        assert outside == [], "the pages ask nobody else"
    finally:
        context.close()


def sign_in(page: Page, name: str, password: str = FIXTURE_PASSWORD) -> None:
    """Fill in the form that every address shows to who is not signed in."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    # On a phone the menu is closed: there, and not to be seen.
    page.locator("#menu").wait_for(state="attached")
