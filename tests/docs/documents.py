# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The documents that people read, and the blocks in them, as all tests of this folder take them."""

from __future__ import annotations

import re
import textwrap
import typing as t
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("docs/**/*.rst"),
        *ROOT.glob("roles/*/README.md"),
        *ROOT.glob("examples/**/*.md"),
    ]
)
_FENCED = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_RST = re.compile(r"^\.\. code-block:: (\S+)\n\n((?:(?: +.*)?\n)+)", re.MULTILINE)


class Block(t.NamedTuple):
    """A block of a document."""

    path: str
    number: int
    language: str
    text: str

    @property
    def where(self) -> str:
        """Its document, and which block of it."""
        return f"{self.path}:{self.number}"

    @property
    def content(self) -> t.Any:
        """What it is as YAML."""
        return yaml.safe_load(self.text)

    @property
    def kind(self) -> str | None:
        """What is looked at in which way: commands, tasks, rulebook, pipeline, variables; None for a mere text."""
        if self.language in ("console", "shell"):
            return "commands"
        if self.language not in ("yaml", "yml", "yaml+jinja"):
            return None
        if isinstance(self.content, list):
            return "rulebook" if any("sources" in item for item in self.content) else "tasks"
        return "pipeline" if ".gitlab-ci.yml" in self.text else "variables"

    @property
    def commands(self) -> list[str]:
        """The command lines, without prompt and remarks; output stands between those of a console."""
        prompt = r"[$#] " if self.language == "console" else r"(?=\S)"
        found = [re.match(rf"{prompt}(.*)", line) for line in self.text.splitlines()]
        return [re.sub(r" {2,}# .*", "", line.group(1)) for line in found if line]


def _blocks() -> t.Iterator[Block]:
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        found = (_FENCED if path.suffix == ".md" else _RST).findall(text)
        for number, (language, block) in enumerate(found, 1):
            yield Block(str(path.relative_to(ROOT)), number, language, f"{textwrap.dedent(block).rstrip()}\n")


BLOCKS = list(_blocks())


def of(*kinds: str) -> list[Block]:
    """The blocks of these kinds."""
    return [block for block in BLOCKS if block.kind in kinds]
