# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The review: what is met stays met, and each row would see it if it were not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import review

# What only a release brings.
RELEASE = {"version 1.0.0 or later, semantic", "a generated changelog of this version"}
# The requirement that is not met any longer, where this text of this file is replaced.
BROKEN = {
    "galaxy.yml: links, SPDX licence, tags": ("galaxy.yml", "issues:", "tracker:"),
    "no dependency with an upper bound": ("galaxy.yml", "dependencies: {}", "dependencies: {a.b: '<2'}"),
    "requires_ansible from 2.16, 2.18, 2.20, not 2.19": ("meta/runtime.yml", ">=2.16.0", ">=2.19.0"),
    "every module with a connection in the action group": ("meta/runtime.yml", "    - memory_layout\n", ""),
    "meta/execution-environment.yml, bindep": ("meta/execution-environment.yml", "ee-bindep", "bindep"),
    "a code of conduct that the README links to": ("README.md", "CODE_OF_CONDUCT.md", "CONDUCT.md"),
    "README with full URLs only": ("README.md", "https://forum.ansible.com/c/help/6", "forum"),
    "README with a section on communication, and the forum": ("README.md", "## Communication", "## Talk"),
    "no `pip install ansible` in the README": ("README.md", "make build", "pip install ansible"),
    "version_added of every module": ("plugins/modules/memory_device.py", "version_added: 1.0.0\n", ""),
    "full names in the examples of modules": (
        "plugins/modules/memory_device.py",
        "  virtmem.libvirt.memory_device:",
        "  memory_device:",
    ),
    "private utils begin with _ and say that they are": ("plugins/plugin_utils/_table.py", "**PRIVATE**", "private"),
}


def unmet(root: Path) -> set[str]:
    """What is not met."""
    return {row.asks for row in review.rows(review.Tree(root)) if row.met is False}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what is reviewed."""
    for name in review.Tree(review.ROOT).files():
        if name.startswith(("plugins/", "meta/", "changelogs/", "LICENSES/")) or "/" not in name:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(review.ROOT / name, tmp_path / name)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True)
    return tmp_path


def test_nothing_is_missing_but_a_release() -> None:
    assert unmet(review.ROOT) <= RELEASE


@pytest.mark.parametrize("asks", BROKEN)
def test_what_is_not_met_is_seen(tree: Path, asks: str) -> None:
    name, old, new = BROKEN[asks]
    text = (tree / name).read_text()
    assert old in text
    (tree / name).write_text(text.replace(old, new))
    assert asks in unmet(tree)


@pytest.mark.parametrize("section", review.SECTIONS)
def test_a_section_that_is_missing_is_named(tree: Path, section: str) -> None:
    text = (tree / "README.md").read_text()
    (tree / "README.md").write_text(text.replace(f"## {section}\n", "## Another\n"))
    told = [row.measured for row in review.rows(review.Tree(tree)) if row.met is False]
    assert f"without {section}" in told


def test_the_table_has_every_row() -> None:
    found = list(review.rows(review.Tree(review.ROOT)))
    lines = review.table(found).splitlines()
    assert sum(line.startswith((review.INCLUSION, review.CERTIFICATION)) for line in lines) == len(found)
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize(
    ("tag", "version", "known", "agree"),
    [
        ("1.0.0", "1.0.0", "1.0.0", True),
        ("1.0.1", "1.0.0", "1.0.0", False),
        ("1.0.0", "1.0.0", "0.9.0", False),
        ("1.0.0", "1.1.0", "1.0.0", False),
    ],
)
def test_a_release_is_of_one_version(tmp_path: Path, tag: str, version: str, known: str, agree: bool) -> None:
    (tmp_path / "changelogs").mkdir()
    (tmp_path / "galaxy.yml").write_text(f"version: {version}\n")
    (tmp_path / "changelogs" / "changelog.yaml").write_text(f"releases: {{{known}: {{}}}}\n")
    assert review.release(review.Tree(tmp_path), tag).met is agree
