"""The built pages, as files and in a real browser at phone and desktop width, dark and light.

`nox -s docs` builds them into site/. Where they are not built, these tests are skipped.
"""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

SITE = Path(__file__).parents[1] / "site"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
pytestmark = pytest.mark.skipif(
    not (SITE / "llms.txt").exists(), reason="the pages are not built: nox -s docs"
)


class Page(HTMLParser):
    """The ids of a page, its links, and what it loads."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.ids = set[str]()
        self.links = list[str]()
        self.loads = list[str]()
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in ("script", "img", "link") and (place := given.get("src") or given.get("href")):
            self.loads.append(place)


@functools.cache
def page(file: Path) -> Page:
    return Page(file)


def target(file: Path, link: str) -> Path:
    """The file that a link of a page means."""
    path = unquote(link.partition("#")[0].partition("?")[0])
    place = SITE / path.lstrip("/") if path.startswith("/") else file.parent / path if path else file
    return place / "index.html" if place.is_dir() else place


def test_no_link_is_dead_in_site() -> None:
    """Every link between pages names a page that was built, and an anchor that it has."""
    dead = list[str]()
    pages = [file for file in SITE.rglob("*.html") if file.name != "404.html"]
    assert len(pages) > 60
    for file in pages:
        for link in {*page(file).links, *page(file).loads}:
            if re.match(r"[a-z]+:|//", link):
                continue
            there, anchor = target(file, link), unquote(link.partition("#")[2])
            if not there.exists():
                dead.append(f"{file.relative_to(SITE)}: {link}")
            elif anchor and there.suffix == ".html" and anchor not in page(there).ids:
                dead.append(f"{file.relative_to(SITE)}: {link}: no such anchor")
    assert dead == []


def test_pages_load_nothing_from_elsewhere() -> None:
    """Fonts, scripts, styles and pictures come with the pages."""
    for file in SITE.rglob("*.html"):
        assert [place for place in page(file).loads if re.match(r"[a-z]+:|//", place)] == [], file.name
    for file in SITE.glob("*.css"):
        assert "http" not in file.read_text("utf-8")


def test_llms_txt_names_every_page() -> None:
    """Each page of the navigation is listed, and each listed one exists."""
    listed = re.findall(r"\]\(([^)]+)\)", (SITE / "llms.txt").read_text("utf-8"))
    built = {str(file.parent.relative_to(SITE)) for file in SITE.rglob("index.html")}
    assert {place.rstrip("/") for place in listed} == built


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The pages on the loopback: their search needs a server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=SITE)
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium without a display."""
    driver = pytest.importorskip("playwright.sync_api", reason="no playwright to drive a browser")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with driver.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


KINDS = ["", "ladder/tools/", "reference/lutum-store/", "comparison/"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_are_accessible(browser: Any, url: str, width: int, scheme: str) -> None:
    """axe finds nothing on a page of each kind, no page is wider than its window, and none asks elsewhere."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe").Axe()
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    opened, elsewhere = context.new_page(), list[str]()
    opened.on("request", lambda request: elsewhere.append(request.url))
    for place in KINDS:
        opened.goto(url + place)
        opened.wait_for_load_state("networkidle")
        found = axe.run(opened).response["violations"]
        assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found] == [], place
        assert opened.evaluate("document.documentElement.scrollWidth") <= width, place
    assert [place for place in elsewhere if not place.startswith(url)] == []
    context.close()


# The results are in a shadow tree.
FIRST_RESULT = """() => {
  for (const host of document.querySelectorAll("*"))
    for (const link of host.shadowRoot ? host.shadowRoot.querySelectorAll("a[href]") : [])
      return link.href;
}"""


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("collect", "reference/lutum/#lutum.TextTurn.collect"),
        ("commit_text", "reference/lutum/#lutum.Session.commit_text"),
        ("Budget", "reference/lutum/#lutum.Budget"),
        ("RedisLedger", "reference/lutum-redis/#lutum.redis.RedisLedger"),
    ],
)
def test_the_search_finds_functions_first(browser: Any, url: str, words: str, place: str) -> None:
    """The first result of a name is the function or class, and not the prose about it."""
    opened = browser.new_page()
    opened.goto(url)
    opened.wait_for_load_state("networkidle")
    opened.keyboard.press("/")
    opened.keyboard.type(words)
    # While the words are typed, there are results of their first letters.
    opened.wait_for_function(f"place => ({FIRST_RESULT})() === place", arg=url + place, timeout=20_000)
    opened.close()


def test_previous_and_next(browser: Any, url: str) -> None:
    """The pages of the ladder follow each other."""
    opened = browser.new_page()
    opened.goto(url + "ladder/install/")
    for title in ("2. One call", "3. Streaming", "4. A conversation"):
        opened.click("a.md-footer__link--next")
        opened.wait_for_load_state("networkidle")
        assert opened.inner_text("h1").strip("¶ \n") == title
    opened.click("a.md-footer__link--prev")
    assert opened.inner_text("h1").strip("¶ \n") == "3. Streaming"
    opened.close()
