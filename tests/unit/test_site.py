"""The site of the docs: built without a warning, whole, and without a request to another host."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from sphinx.cmd.build import build_main

from neft_ray.config.keys import TRIAL_KEYS
from neft_ray.config.sweep import SweepConfig
from neft_ray.errors import ExitCode
from tests.pages import ROOT

LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
NOT_LOADED = {"canonical", "next", "prev", "index", "search", "author", "copyright"}


class Page(HTMLParser):
    """What a page of HTML loads, where it leads, and which of its places can be led to."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.loaded, self.links, self.places, self.css = [], [], set(), []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.places.add(given.get("id"))
        self.css.append(given.get("style") or "")
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in LOADED and given.get("rel") not in NOT_LOADED:
            self.loaded.append(given.get(LOADED[tag]) or "")
        self.loaded += re.findall(r"\S+", given.get("srcset") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site; any warning, such as a broken link, ends the build with an error."""
    out = tmp_path_factory.mktemp("site")
    assert build_main(["-W", "--keep-going", "-q", str(ROOT / "docs"), str(out)]) == 0
    return out


def test_no_page_style_or_font_comes_from_another_host(site):
    pages = {file: Page(file) for file in site.rglob("*.html")}
    assert len(pages) > 30
    elsewhere = [link for page in pages.values() for link in page.loaded if _has_host(link)]
    styles = [file.read_text(encoding="utf-8") for file in site.rglob("*.css")]
    styles += [style for page in pages.values() for style in page.css]
    for style in styles:
        named = re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", style)
        elsewhere += [link for pair in named for link in pair if _has_host(link)]
    assert not elsewhere


def test_every_link_within_the_site_leads_to_a_place_that_is_there(site):
    pages = {file.resolve(): Page(file) for file in site.rglob("*.html")}
    broken = []
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            there = pages.get(target)
            known = there.places | {""} if there else {parts.fragment}
            if not target.exists() or unquote(parts.fragment) not in known:
                broken.append((file.name, link))
    assert not broken


def test_the_reference_has_every_key_command_and_exit_code(site):
    places = Page(site / "reference/sweep-file.html").places
    for key in (*TRIAL_KEYS, *SweepConfig.model_fields):
        if key == "strategy.kind":
            continue  # written in the headings of its three sections
        first, *_, last = key.replace("_", "-").split(".") * 2
        place = re.compile(f"key-{first}" + (f"-(.*-)?{last}" if "." in key else ""))
        assert any(place.fullmatch(known or "") for known in places), key
    text = (site / "reference/exit-codes.html").read_text(encoding="utf-8")
    assert all(f"<td><p>{code.value}</p></td>" in text for code in ExitCode)


def _has_host(link: str) -> bool:
    return bool(urlsplit(link).netloc)
