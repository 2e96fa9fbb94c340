# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command lines that the documentation shows exist: playbooks, rulebooks, their variables, targets of make.

Those of the quick start are run as they are printed, by tests/site.
"""

from __future__ import annotations

import itertools
import re
import shlex

import pytest
import yaml
from ansible_collections.virtmem.libvirt.tests.docs import documents

ROOT = documents.ROOT
COLLECTION = "virtmem.libvirt."
INSTALLED = "~/.ansible/collections/ansible_collections/virtmem/libvirt"
# What a line may begin with beside Ansible's commands: what every reader has or has just installed.
TOOLS = {"apt", "cd", "cp", "echo", "for", "make", "python3", "virsh", "/usr/bin/python3"}
ANSIBLE = {"ansible", "ansible-playbook", "ansible-galaxy", "ansible-rulebook", "pip"}


LINES = sorted({(block.path, line) for block in documents.of("commands") for line in block.commands})


def _words(line: str) -> list[str]:
    """The words of a command, without the variables before it."""
    words = shlex.split(line.partition(" && ")[0])
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        del words[0]
    return words


def _variables() -> str:
    """The text of everything that takes variables."""
    places = ("playbooks/**/*.yml", "roles/**/*.yml", "extensions/eda/rulebooks/*.yml", "examples/**/*.yml")
    return "\n".join(path.read_text() for place in places for path in sorted(ROOT.glob(place)))


def test_there_are_command_lines() -> None:
    assert len(LINES) > 20
    assert any(where == "README.md" for where, _line in LINES)


@pytest.mark.parametrize(("where", "line"), LINES, ids=[f"{where}: {line}" for where, line in LINES])
def test_a_command_exists(where: str, line: str) -> None:
    words = _words(line)
    tool = words[0].rpartition("/")[2] if words[0].startswith("/opt/") else words[0]
    is_own = where == "CONTRIBUTING.md" and words[0].startswith("../")
    assert tool in TOOLS | ANSIBLE or is_own, tool
    for word in words:
        if word.startswith(COLLECTION):
            name = word[len(COLLECTION) :]
            folder = "extensions/eda/rulebooks" if tool == "ansible-rulebook" else "playbooks"
            place = ROOT / ("plugins/modules" if tool == "ansible" else folder) / name
            assert place.with_suffix(".py").exists() or place.with_suffix(".yml").exists(), word
        if word.startswith(INSTALLED):
            assert (ROOT / word[len(INSTALLED) + 1 :]).exists(), word
    if tool == "make":
        targets = re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in " ".join(targets).split(), words[1]
    for flag, value in itertools.pairwise(words):
        if flag == "-e" and value.partition("=")[0] != "ansible_python_interpreter":
            names = yaml.safe_load(value) if value.startswith("{") else [value.partition("=")[0]]
            for name in names:
                assert re.search(rf"\b{name}\b", _variables()), name


# --- the reference pages


def _rst(name: str) -> str:
    return (ROOT / "docs" / "docsite" / "rst" / f"{name}.rst").read_text(encoding="utf-8")


# What a playbook reads with a default, and is no option of its own.
_NOT_OPTIONS = {"sizing_uri", "sizing_domains", "memory", "domains", "summary"}


def test_every_playbook_has_its_section_and_every_variable_its_playbook() -> None:
    text = _rst("reference_playbooks")
    sections = re.split(r"^virtmem\.libvirt\.(\w+)\n-+\n", text, flags=re.MULTILINE)[1:]
    described = dict(zip(sections[::2], sections[1::2], strict=True))
    assert set(described) == {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    for name, section in described.items():
        playbook = (ROOT / "playbooks" / f"{name}.yml").read_text()
        listed = {
            word for line in re.findall(r"^``\w.*``$", section, re.MULTILINE) for word in re.findall(r"\w+", line)
        }
        assert listed, name
        assert {word for word in listed if word not in playbook} == set(), name
        # What a playbook takes has a default, in a filter or as a variable of the play.
        taken = set(re.findall(r"\b(\w+)(?: \|| is) default\(", playbook)) - _NOT_OPTIONS
        assert {word for word in taken if word not in listed} == set(), name


def test_every_rulebook_has_its_variables_described() -> None:
    text = _rst("reference_events")
    for path in (ROOT / "extensions" / "eda" / "rulebooks").glob("*.yml"):
        assert f"``virtmem.libvirt.{path.stem}``" in text
        for name in set(re.findall(r"\b(memory_\w+)\b", path.read_text())) - {"memory_uri"}:
            assert f"``{name}``" in text, f"{path.stem}: {name}"


def test_the_event_source_is_described_as_it_documents_itself() -> None:
    source = (ROOT / "extensions/eda/plugins/event_source/memory.py").read_text()
    options = yaml.safe_load(source.partition('DOCUMENTATION = r"""')[2].partition('"""')[0])["options"]
    text = _rst("reference_events")
    for name, option in options.items():
        row = re.search(rf"^   \* - ``{name}``\n     - (.+)\n", text, re.MULTILINE)
        assert row, name
        default = option["default"][0] if isinstance(option["default"], list) else option["default"]
        assert row.group(1).strip("`") == str(default).lower(), name


def test_the_pages_are_listed_for_the_site_and_for_ansible_alike() -> None:
    pages = {path.stem for path in (ROOT / "docs" / "docsite" / "rst").glob("*.rst")}
    extra = yaml.safe_load((ROOT / "docs" / "docsite" / "extra-docs.yml").read_text())["sections"]
    site = (ROOT / "docs" / "site" / "index.rst").read_text()
    listed = [page for section in extra for page in section["toctree"]]
    assert sorted(listed) == sorted(pages)
    assert re.findall(r"^   docsite/(\w+)$", site, re.MULTILINE) == listed
    assert re.findall(r":caption: (.+)$", site, re.MULTILINE) == [section["title"] for section in extra]
