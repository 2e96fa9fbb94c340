# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""No block of any document goes unjudged: each is of a kind that a test here or beside this one looks at.

Tasks and plays are run by test_examples, command lines by test_commands, rulebooks by tests/eda; the rest is here:
variables of hosts and rulebooks, pipelines, unit files, and what programs print.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.virtmem.libvirt.plugins.plugin_utils import _progress, _table
from ansible_collections.virtmem.libvirt.tests.docs.documents import BLOCKS, ROOT, Block


def kind(block: Block) -> str | None:
    """What is looked at in which way, mere texts too; None if nobody does."""
    texts = (name for name, looks in OUTPUTS.items() if re.match(looks, block.text))
    return block.kind or next(texts, None)


# What blocks of text are, by their beginnings.
OUTPUTS = {
    "waiting": r"waiting: \[",
    "staged": r"staged: \[",
    "table": r"DOMAIN +DEVICE",
    "unit": r"# /etc/systemd/",
    "rulebook variables": r"memory_uris: ",
    "map": r"plugins/modules/ |inventory/hosts\.yml ",
}


def of(*kinds: str) -> list[Block]:
    """The blocks of these kinds."""
    return [block for block in BLOCKS if kind(block) in kinds]


def test_every_block_is_of_a_kind_that_is_looked_at() -> None:
    assert [block for block in BLOCKS if kind(block) is None] == []
    assert {kind(block) for block in BLOCKS} >= {"commands", "tasks", "rulebook", "pipeline", "variables", *OUTPUTS}


# --- variables


def test_declarations_are_declarations(tmp_path: Path) -> None:
    """Each with what its expressions ask of an inventory, judged by the role's own filter."""
    blocks = of("variables")
    guests = {"web1": {"vm_memory": 6}, "db1": {"vm_memory": 96}}
    tasks = [
        {
            "name": block.where,
            "ansible.builtin.assert": {
                "that": ["sizing_domains | length == 2", "(sizing_domains | virtmem.libvirt.sizing_check) == []"],
                "fail_msg": "{{ sizing_domains | virtmem.libvirt.sizing_check }}",
            },
            "vars": block.content,
        }
        for block in blocks
    ]
    (tmp_path / "play.json").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    (tmp_path / "hosts.json").write_text(json.dumps({"guests": {"hosts": guests}}))
    env = {**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false"}
    command = ["ansible-playbook", "-i", "hosts.json", "play.json"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"ok={len(blocks)} " in done.stdout


@pytest.mark.parametrize("block", of("rulebook variables"), ids=lambda block: block.where)
def test_variables_of_rulebooks_are_known(block: Block) -> None:
    rulebooks = "".join(path.read_text() for path in (ROOT / "extensions" / "eda" / "rulebooks").glob("*.yml"))
    assert [name for name in block.content if not re.search(rf"\b{name}\b", rulebooks)] == []


# --- files of other programs


@pytest.mark.parametrize("block", of("pipeline"), ids=lambda block: block.where)
def test_a_pipeline_is_one_for_gitlab(block: Block, tmp_path: Path) -> None:
    (tmp_path / "pipeline.yml").write_text(block.text)
    command = ["check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"]
    done = subprocess.run([*command, "pipeline.yml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    books = re.findall(r"ansible-playbook -i inventory\.yml (\w+\.yml)", block.text)
    assert books
    assert [book for book in books if not (ROOT / "examples" / "ci-runner" / book).exists()] == []


@pytest.mark.parametrize("block", of("unit"), ids=lambda block: block.where)
def test_a_unit_file_starts_what_there_is(block: Block) -> None:
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block.text)
    assert unit.sections() == ["Unit", "Service", "Install"]
    rulebook = re.search(r"--rulebook virtmem\.libvirt\.(\w+) ", unit["Service"]["ExecStart"])
    assert rulebook
    assert (ROOT / "extensions" / "eda" / "rulebooks" / f"{rulebook.group(1)}.yml").exists()


# --- what programs print


@pytest.mark.parametrize("block", of("waiting"), ids=lambda block: block.where)
def test_a_line_of_progress_is_one(block: Block) -> None:
    found = re.fullmatch(r"waiting: \[(\w+)\] => (.+) \((\d+) of (\d+) there, (\d+) s of (\d+) s\)\n", block.text)
    assert found
    host, waiting, there, guests, waited, timeout = found.groups()
    report = {"waiting": waiting.split("; "), "guests": int(guests), "waited": int(waited), "timeout": int(timeout)}
    assert int(guests) - int(there) == len(report["waiting"])  # type: ignore[arg-type]
    assert _progress.line(host, report, 200) == block.text.strip()


@pytest.mark.parametrize("block", of("staged"), ids=lambda block: block.where)
def test_a_line_on_a_restart_is_one(block: Block) -> None:
    found = re.fullmatch(r"staged: \[(\w+)\] => (\w+): (.+)\n", block.text)
    assert found
    host, domain, reason = found.groups()
    assert f"{_progress.staged(host, {'restart_reasons': [reason], 'domain': {'name': domain}})}\n" == block.text
    source = (ROOT / "plugins" / "module_utils" / "_memory" / "plan" / "readiness.py").read_text()
    assert "in the running guest and can only become" in source


@pytest.mark.parametrize("block", of("table"), ids=lambda block: block.where)
def test_a_table_has_the_columns_of_the_role(block: Block) -> None:
    titles = re.split(r"  +", block.text.splitlines()[0])
    assert titles == [title for _name, title in _table._COLUMNS][: len(titles)]
    assert max(map(len, block.text.splitlines())) <= _table._WIDTH


@pytest.mark.parametrize("block", of("map"), ids=lambda block: block.where)
def test_a_map_shows_what_there_is(block: Block) -> None:
    """The first word of a line is a path, below the folders of the lines above that are less indented."""
    if block.where.startswith("CONTRIBUTING"):
        folders = [line.split()[0] for line in block.text.splitlines() if re.match(r"\w+/\S*/? ", line)]
        assert [name for name in folders if not (ROOT / name.rstrip(",")).exists()] == []
    else:
        names = re.findall(r"^(\S+?)(?:, (\S+))? {2,}", block.text, re.MULTILINE)
        example = ROOT / "examples" / "gitops"
        paths = [name for pair in names for name in pair if name and "{" not in name]
        assert paths
        assert [name for name in paths if not (example / name).exists()] == []
