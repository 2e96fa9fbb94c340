# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The links of what is read as a file: in the repository, on Galaxy, where it is installed; tests/site has the rest."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = "https://github.com/virtmem/ansible-libvirt"
_INLINE = re.compile(r"\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _documents() -> list[Path]:
    every = [*ROOT.glob("*.md"), *ROOT.glob("roles/*/README.md"), *ROOT.glob("examples/**/*.md")]
    return sorted([*every, *ROOT.glob("tests/*/README.md")])


def _links(path: Path) -> list[str]:
    return _INLINE.findall(_FENCED.sub("", path.read_text(encoding="utf-8")))


def _is_installed(path: Path) -> bool:
    """Whether it is in the tarball."""
    ignored = yaml.safe_load((ROOT / "galaxy.yml").read_text())["build_ignore"]
    return not any(
        path.relative_to(ROOT).match(pattern) or path.relative_to(ROOT).parts[0] == pattern for pattern in ignored
    )


@pytest.mark.parametrize("path", _documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in _links(path):
        target, _hash, _fragment = link.partition("#")
        if target.startswith((f"{SOURCES}/blob/main/", f"{SOURCES}/tree/main/")):
            assert (ROOT / target[len(f"{SOURCES}/blob/main/") :]).exists(), link
        elif "://" not in target and target:
            assert (path.parent / target).exists(), link
            assert not _is_installed(path) or _is_installed((path.parent / target).resolve()), (
                f"{link} is not installed"
            )


def test_galaxy_shows_the_readme_alone() -> None:
    assert [link for link in _links(ROOT / "README.md") if "://" not in link] == []


def test_what_galaxy_links_to_is_here() -> None:
    metadata = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    assert metadata["repository"] == metadata["homepage"] == SOURCES
    links = (ROOT / "docs" / "docsite" / "links.yml").read_text()
    assert f"repository: {SOURCES.partition('github.com/')[2]}\n" in links


def test_no_other_tree_is_linked_to() -> None:
    """A link into the repository is to `main`, and to what git knows."""
    known = set(
        subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    )
    folders = {str(parent) for name in known for parent in Path(name).parents}
    for path in _documents():
        for link in _links(path):
            found = re.fullmatch(rf"{re.escape(SOURCES)}/(?:blob|tree)/([^/]+)/([^#]*)(?:#.*)?", link)
            if found:
                assert found.group(1) == "main", link
                assert found.group(2) in known | folders, link
