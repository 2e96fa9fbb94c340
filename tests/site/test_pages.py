# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The documentation as a site, once it is made ($VIRTMEM_SITE): nothing is missing, and no link is dead."""

from __future__ import annotations

import os
import re
import typing as t
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
SITE = Path(os.environ["VIRTMEM_SITE"])
PUBLISHED = "https://virtmem.github.io/ansible-libvirt/"
SOURCES = "https://github.com/virtmem/ansible-libvirt"
# Where links lead that can't be tried without a network; each was looked at when it was added.
ELSEWHERE = {
    "docs.ansible.com",
    "forum.ansible.com",
    "galaxy.ansible.com",
    "libvirt.org",
    "www.ansible.com",
}


class Page(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.words = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes an element's names and targets."""
        given = {name: value for name, value in attrs if value}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        self.loaded += [given[name] for name in ("src", "href") if name in given and tag in ("script", "img", "link")]

    def handle_data(self, data: str) -> None:
        """Collects what is read."""
        self.words += data


PAGES = {path.relative_to(SITE): Page(path) for path in sorted(SITE.rglob("*.html"))}


def _problem(page: Path, link: str) -> str | None:
    """Why a link leads nowhere, or None."""
    parts = urlsplit(link)
    if link.startswith(SOURCES):
        inside = re.match(rf"{re.escape(SOURCES)}/(?:blob|tree|edit)/main/([^?#]+)", link)
        return None if inside is None or (ROOT / inside.group(1)).exists() else "no such file"
    if link.startswith(PUBLISHED):
        link = link[len(PUBLISHED) :] or "index.html"
        page, parts = Path("index.html"), urlsplit(link)
    if parts.scheme in ("http", "https"):
        return None if parts.hostname in ELSEWHERE else "another site"
    target = Path(os.path.normpath(page.parent / unquote(parts.path))) if parts.path else page
    if target in PAGES:
        return None if not parts.fragment or unquote(parts.fragment) in PAGES[target].places else "no such place"
    return None if (SITE / target).is_file() else "no such page"


def test_no_link_is_dead() -> None:
    dead = {
        f"{page}: {link}": why
        for page, content in PAGES.items()
        for link in [*content.links, *content.loaded]
        if (why := _problem(page, link))
    }
    assert len(PAGES) > 25
    assert dead == {}


def test_a_dead_link_would_be_found() -> None:
    page = Path("docsite/guide_quickstart.html")
    assert _problem(page, "guide_nothing.html") == "no such page"
    assert _problem(page, "guide_fleets.html#nothing") == "no such place"
    assert _problem(page, f"{SOURCES}/blob/main/NOTHING") == "no such file"
    assert _problem(page, "https://example.com/") == "another site"


def test_a_page_asks_nobody_else_for_anything() -> None:
    assert [link for content in PAGES.values() for link in content.loaded if urlsplit(link).netloc] == []


def test_what_the_readme_links_to_is_on_the_site() -> None:
    links = re.findall(rf"{re.escape(PUBLISHED)}([^)\s]*)", (ROOT / "README.md").read_text())
    assert len(links) > 10
    assert [link for link in links if Path(link or "index.html") not in PAGES] == []
    assert yaml.safe_load((ROOT / "galaxy.yml").read_text())["documentation"] == PUBLISHED


def _named(folder: str, suffix: str = ".py") -> t.Iterator[str]:
    return (path.stem for path in (ROOT / folder).glob(f"*{suffix}") if not path.stem.startswith("_"))


def test_everything_that_the_collection_has_is_in_its_reference() -> None:
    expected = {
        *(f"{name}_module.html" for name in _named("plugins/modules")),
        *(f"{name}_filter.html" for name in _named("plugins/filter")),
        *(f"{path.name}_role.html" for path in (ROOT / "roles").iterdir()),
    }
    linked = {urlsplit(link).path for link in PAGES[Path("reference.html")].links}
    assert expected <= linked
    playbooks = PAGES[Path("docsite/reference_playbooks.html")].words
    assert [name for name in _named("playbooks", ".yml") if f"virtmem.libvirt.{name}" not in playbooks] == []
    events = PAGES[Path("docsite/reference_events.html")].words
    names = [*_named("extensions/eda/rulebooks", ".yml"), *_named("extensions/eda/plugins/event_source")]
    assert [name for name in names if f"virtmem.libvirt.{name}" not in events] == []


@pytest.mark.parametrize("page", sorted(PAGES), ids=str)
def test_every_page_is_reached_from_the_first(page: Path) -> None:
    reached, waiting = {Path("index.html")}, [Path("index.html")]
    while waiting:
        here = waiting.pop()
        for link in PAGES[here].links:
            parts = urlsplit(link)
            target = Path(os.path.normpath(here.parent / unquote(parts.path)))
            if not parts.netloc and target in PAGES and target not in reached:
                reached.add(target)
                waiting.append(target)
    assert page in reached or page.name == "search.html"
