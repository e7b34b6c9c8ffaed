"""The page in a real browser."""

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, sync_playwright

from tests.conftest import TEMPLATE, Bake, clean_environment
from tests.support.tools import require

ARTIFACTS = Path(os.environ.get("ARTIFACTS", TEMPLATE / "artifacts"))
# Chromium calls home when it starts, unless told not to; as root it has no sandbox.
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture
def address(bake: Bake, tools: Path) -> Iterator[str]:
    """Serve a default bake with bin/dev on a free port."""
    require("browser")
    project = bake()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    project.write(".env", f"PORT={port}\nAPP_REVISION=v7\n")
    server = subprocess.Popen(
        ["bin/dev", "--no-reload"],
        cwd=project.path,
        encoding="utf-8",
        env=clean_environment() | {"VENV": str(tools)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert server.stderr is not None
    try:
        running = next(line for line in server.stderr if "Running on" in line)
        assert running.strip().endswith(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate(timeout=10)


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    """Open the system's browser, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=require("browser"), args=FLAGS)
        page = browser.new_page(base_url=address, viewport={"width": 1280, "height": 720})
        yield page
        browser.close()


def test_the_page_greets_and_stays_at_home(page: Page, address: str) -> None:
    complaints: list[str] = []
    requests: list[Request] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request))  # noqa: PLW0108 Playwright marks it

    response = page.goto("/", wait_until="networkidle")

    assert response is not None
    assert response.ok
    assert page.title() == "Hello Delivery"
    assert page.locator("h1").inner_text() == "Hello World!"
    assert page.locator("footer").inner_text() == "Revision v7"
    assert page.locator("html").get_attribute("lang") == "en"
    assert complaints == []
    assert {re.sub(r"(?<=\d)/.*", "", request.url) for request in requests} == {address}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_the_page_fits_every_window_and_taste(page: Page, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 480})
    page.goto("/")

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(251, 250, 247)" if scheme == "light" else "rgb(20, 25, 27)"
    )
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"page-{scheme}-{width}.png")


def test_an_unknown_page_says_so_in_the_same_dress(page: Page) -> None:
    page.goto("/nowhere")

    assert page.title() == "Not Found · Hello Delivery"
    assert page.locator("h1").inner_text() == "404 Not Found"
