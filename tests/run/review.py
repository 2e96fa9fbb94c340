# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make review`: what reviewers ask of a collection, a row each, with what was measured in this checkout.

`inclusion` is the checklist of the Ansible package, `certification` that of certified collections. What a stage of the
checks measures is not measured again: its row names the stage.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import typing as t
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
INCLUSION, CERTIFICATION = "inclusion", "certification"
# Sections of the README that certification asks for.
SECTIONS = (
    "Description",
    "Requirements",
    "Installation",
    "Use cases",
    "Testing",
    "Support",
    "Release notes",
    "Licence",
)
# Lower bounds of ansible-core that certification takes, and the one that it refuses by name.
CORES, REFUSED = ("2.16", "2.18", "2.20"), "2.19"
# The options that every module with a connection has.
CONNECTION = "virtmem.libvirt._connection"
CORE_FOLDERS = {"action", "doc_fragments", "filter", "module_utils", "modules", "plugin_utils"}
LARGEST = 20_000_000


@dataclass(frozen=True)
class Row:
    """A requirement, and whether it is met; None if a stage of the checks says so."""

    source: str
    asks: str
    measured: str
    met: bool | None


@dataclass(frozen=True)
class Tree:
    """The checkout that is reviewed."""

    root: Path

    def text(self, path: str) -> str:
        """A file's text; empty if there is none."""
        place = self.root / path
        return place.read_text(encoding="utf-8") if place.is_file() else ""

    def yaml(self, path: str) -> t.Any:
        """A file's content; an empty dictionary if there is none."""
        return yaml.safe_load(self.text(path)) or {}

    def files(self) -> list[str]:
        """What git knows."""
        ran = subprocess.run(["git", "ls-files"], cwd=self.root, capture_output=True, text=True, check=True)
        return ran.stdout.split("\n")[:-1]

    def modules(self) -> dict[str, dict[str, t.Any]]:
        """The documentation of each module."""
        found = {}
        for path in sorted((self.root / "plugins" / "modules").glob("*.py")):
            blocks = re.findall(r'^(DOCUMENTATION|EXAMPLES|RETURN) = r"""\n(.*?)^"""', path.read_text(), re.M | re.S)
            found[path.stem] = {name: yaml.safe_load(block) for name, block in blocks}
        return found


def rows(tree: Tree) -> t.Iterator[Row]:
    """Every requirement."""
    yield from _metadata(tree)
    yield from _readme(tree)
    yield from _plugins(tree)
    yield from _by_stages()


def _metadata(tree: Tree) -> t.Iterator[Row]:
    galaxy, runtime = tree.yaml("galaxy.yml"), tree.yaml("meta/runtime.yml")
    version = str(galaxy.get("version"))
    major = version.partition(".")[0]
    yield Row(INCLUSION, "version 1.0.0 or later, semantic", version, major.isdigit() and int(major) >= 1)
    links = [name for name in ("repository", "documentation", "issues", "homepage") if galaxy.get(name)]
    licence, tags = galaxy.get("license"), galaxy.get("tags") or []
    yield Row(
        INCLUSION,
        "galaxy.yml: links, SPDX licence, tags",
        f"{len(links)} links, {licence}, {len(tags)} tags",
        len(links) == 4 and licence == ["GPL-3.0-or-later"] and bool(tags),
    )
    needs = galaxy.get("dependencies")
    yield Row(CERTIFICATION, "no dependency with an upper bound", f"{len(needs or {})} dependencies", not needs)
    bound = str(runtime.get("requires_ansible"))
    least = bound.removeprefix(">=").rpartition(".")[0]
    yield Row(
        CERTIFICATION,
        f"requires_ansible from {', '.join(CORES)}, not {REFUSED}",
        bound,
        bound.startswith(">=") and least in CORES,
    )
    group = set(runtime.get("action_groups", {}).get("all", []))
    # The others would refuse what is set for the group: its options are those of a connection.
    modules = {
        name
        for name, blocks in tree.modules().items()
        if CONNECTION in blocks["DOCUMENTATION"].get("extends_documentation_fragment", [])
    }
    yield Row(
        INCLUSION,
        "every module with a connection in the action group",
        f"{len(group)} of {len(modules)}",
        group == modules,
    )
    environment = tree.yaml("meta/execution-environment.yml").get("dependencies", {})
    named = [path for path in environment.values() if tree.text(path)]
    yield Row(CERTIFICATION, "meta/execution-environment.yml, bindep", f"{', '.join(named)}", len(named) == 2)
    notes = [path for path in ("CHANGELOG.md", "CHANGELOG.rst") if tree.text(path)]
    known = tree.yaml("changelogs/changelog.yaml").get("releases") or {}
    yield Row(
        INCLUSION, "a generated changelog of this version", ", ".join(notes) or "none", bool(notes) and version in known
    )
    conduct = bool(tree.text("CODE_OF_CONDUCT.md")) and "CODE_OF_CONDUCT.md" in tree.text("README.md")
    yield Row(INCLUSION, "a code of conduct that the README links to", "yes" if conduct else "no", conduct)


def _readme(tree: Tree) -> t.Iterator[Row]:
    text = tree.text("README.md")
    sections = set(re.findall(r"^## (.+)$", text, re.M))
    missing = [name for name in SECTIONS if name not in sections]
    yield Row(
        CERTIFICATION,
        f"README with {', '.join(SECTIONS)}",
        "all" if not missing else f"without {', '.join(missing)}",
        not missing,
    )
    relative = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    yield Row(CERTIFICATION, "README with full URLs only", f"{len(relative)} others", not relative)
    forum = "forum.ansible.com" in text and "Communication" in sections
    yield Row(INCLUSION, "README with a section on communication, and the forum", "yes" if forum else "no", forum)
    yield Row(
        CERTIFICATION,
        "no `pip install ansible` in the README",
        "none" if "pip install ansible" not in text else "there is",
        "pip install ansible" not in text,
    )


def _plugins(tree: Tree) -> t.Iterator[Row]:
    folders = {path.name for path in (tree.root / "plugins").iterdir() if path.is_dir() and path.name != "__pycache__"}
    yield Row(INCLUSION, "plugin folders of ansible-core's only", ", ".join(sorted(folders)), folders <= CORE_FOLDERS)
    modules = tree.modules()
    whole = [name for name, blocks in modules.items() if len(blocks) == 3]
    yield Row(
        INCLUSION,
        "documentation, examples and return values of modules",
        f"{len(whole)} of {len(modules)}",
        len(whole) == len(modules),
    )
    since = [name for name, blocks in modules.items() if blocks["DOCUMENTATION"].get("version_added")]
    yield Row(INCLUSION, "version_added of every module", f"{len(since)} of {len(modules)}", len(since) == len(modules))
    tasks = [task for blocks in modules.values() for task in blocks["EXAMPLES"]]
    short = [key for task in tasks for key in _actions(task) if key.count(".") < 2]
    yield Row(
        INCLUSION,
        "full names in the examples of modules",
        f"{len(tasks)} examples, {len(short)} short names",
        not short,
    )
    asking = [
        name
        for name, blocks in modules.items()
        if {"get", "list", "info"}
        & set((blocks["DOCUMENTATION"].get("options") or {}).get("state", {}).get("choices", []))
    ]
    yield Row(INCLUSION, "no state get, list or info", f"{len(asking)} modules", not asking)
    utils = [path for path in (tree.root / "plugins").glob("*_utils/*.py") if path.name != "__init__.py"]
    private = [path for path in utils if path.name.startswith("_") and "**PRIVATE**" in path.read_text()]
    yield Row(
        INCLUSION,
        "private utils begin with _ and say that they are",
        f"{len(private)} of {len(utils)}",
        len(private) == len(utils),
    )
    ignores = list((tree.root / "tests" / "sanity").glob("ignore*"))  # whether git knows them or not
    yield Row(INCLUSION, "no entry in tests/sanity/ignore*", f"{len(ignores)} files", not ignores)
    size = sum((tree.root / path).stat().st_size for path in tree.files() if (tree.root / path).is_file())
    yield Row(INCLUSION, f"below {LARGEST // 1_000_000} MB", f"{size / 1_000_000:.1f} MB", size < LARGEST)


def _actions(task: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    """The actions of a task, or of those in its blocks."""
    keywords = {"name", "register", "when", "loop", "block", "rescue", "always", "vars", "until", "retries", "delay"}
    for key, value in task.items():
        if key in ("block", "rescue", "always"):
            for inner in value:
                yield from _actions(inner)
        elif key not in keywords and isinstance(value, dict):
            yield key


def _by_stages() -> t.Iterator[Row]:
    stages = (
        (INCLUSION, "ansible-test sanity without ignores", "sanity; older cores: test-matrix"),
        (INCLUSION, "FQCN, semantic markup, links through macros", "lint (ansible-lint, antsibull-docs)"),
        (INCLUSION, "licences of every file", "lint (reuse)"),
        (INCLUSION, "check mode and idempotence of every module", "integration (steps.yml of setup_lab)"),
        (INCLUSION, "the site builds without a warning", "shown"),
        (INCLUSION, "Python 3.9 and later, said in each module", "unit"),
        (CERTIFICATION, "galaxy-importer without a complaint", "package"),
        (CERTIFICATION, "ansible-lint, profile production and more", "lint"),
        (CERTIFICATION, "ruff with all rules, pylint, darglint of sources", "lint"),
    )
    for source, asks, stage in stages:
        yield Row(source, asks, f"make {stage}", None)


def table(found: t.Sequence[Row]) -> str:
    """The rows for people, on a terminal of 100 columns."""
    words = {True: "yes", False: "NO", None: "stage"}
    lines = []
    for row in found:
        asks, measured = (textwrap.wrap(text, 46) or [""] for text in (row.asks, row.measured))
        for number in range(max(len(asks), len(measured))):
            first = (row.source, words[row.met]) if number == 0 else ("", "")
            cells = [asks[number] if number < len(asks) else "", measured[number] if number < len(measured) else ""]
            lines.append(f"{first[0]:14}{first[1]:6}{cells[0]:48}{cells[1]}".rstrip())
    return "\n".join(lines)


def release(tree: Tree, tag: str) -> Row:
    """Whether a tag, galaxy.yml and the changelog are of one version."""
    version = str(tree.yaml("galaxy.yml").get("version"))
    known = tree.yaml("changelogs/changelog.yaml").get("releases") or {}
    agree = tag == version and version in known
    newest = ", ".join(known) or "none"
    return Row(INCLUSION, "tag, galaxy.yml and changelog agree", f"{tag}, {version}, {newest}", agree)


def main() -> None:
    """Prints the table, and fails if anything is not met; an argument is the tag of a release."""
    found = [*rows(Tree(ROOT)), *(release(Tree(ROOT), tag) for tag in sys.argv[1:])]
    unmet = [row for row in found if row.met is False]
    print(table(found))
    met, by_stages = (sum(row.met is verdict for row in found) for verdict in (True, None))
    print(f"\n{met} met, {len(unmet)} not, {by_stages} by stages of the checks")
    sys.exit(1 if unmet else 0)


if __name__ == "__main__":
    main()
