# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The YAML that the documentation shows is a task that the modules take, and the guide knows every error code.

Each example is run in check mode against libvirt's built-in test hypervisor with a domain that does not exist, so that
it goes as far as its arguments let it: a wrong one is refused before the domain is looked for.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import ERROR_CODES
from ansible_collections.virtmem.libvirt.tests.docs import documents

ROOT = documents.ROOT
MODULES = sorted(path for path in (ROOT / "plugins" / "modules").glob("*.py"))
GUIDE = ROOT / "docs" / "docsite" / "rst" / "guide_troubleshooting.rst"
COLLECTION = "virtmem.libvirt."
# They connect to no libvirt.
WITHOUT_URI = ("virtmem.libvirt.memory_report",)
# What a task may fail with whose arguments are right: they were read, and the domain was looked for.
FINE = ("domain_not_found", "domains_failed")


def _examples_of_module(path: Path) -> str:
    found = re.search(r'^EXAMPLES = r"""\n(.*?)^"""', path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return found.group(1) if found else ""


def _tasks_of(items: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """The tasks in a list of tasks, blocks or plays."""
    for item in items or ():
        nested = [item[key] for key in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks") if key in item]
        for tasks in nested:
            yield from _tasks_of(tasks)
        if not nested:
            yield item


# Rulebooks are judged by tests/eda, and what is no list of tasks or plays by test_blocks.
ALL_BLOCKS = [
    *((block.where, block.text) for block in documents.of("tasks")),
    *((str(path.relative_to(ROOT)), _examples_of_module(path)) for path in MODULES),
]


def _uses_the_collection(task: t.Mapping[str, t.Any]) -> bool:
    return any(key.startswith(COLLECTION) for key in task)


OUR_TASKS: list[tuple[str, dict[str, t.Any]]] = [
    (f"{where}: {task.get('name', '')}", task)
    for where, block in ALL_BLOCKS
    for task in _tasks_of(yaml.safe_load(block))
    if isinstance(task, dict) and _uses_the_collection(task)
]


@pytest.mark.parametrize(("where", "block"), ALL_BLOCKS, ids=[where for where, _block in ALL_BLOCKS])
def test_a_block_is_a_list_of_tasks_or_plays(where: str, block: str) -> None:
    items = yaml.safe_load(block)
    assert isinstance(items, list), where
    assert all(isinstance(item, dict) and "name" in item for item in items), f"{where}: every task has a name"
    plays = [item for item in items if "hosts" in item]
    assert not plays or len(plays) == len(items), f"{where}: tasks and plays do not mix"


@pytest.fixture(scope="module")
def playbooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_ansible_takes_every_block(playbooks: Path) -> None:
    paths = []
    for number, (where, block) in enumerate(ALL_BLOCKS):
        items = yaml.safe_load(block)
        plays = items if "hosts" in items[0] else [{"hosts": "localhost", "gather_facts": False, "tasks": items}]
        path = playbooks / f"{number}-{where.replace('/', '-').replace(':', '-')}.yml"
        path.write_text(json.dumps(plays))
        paths.append(str(path))
    done = _run(["ansible-playbook", "--syntax-check", *paths], playbooks)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def _answers(tasks: t.Sequence[t.Mapping[str, t.Any]], folder: Path) -> list[dict[str, t.Any]]:
    """What the modules answer to the arguments of these tasks, in one play."""
    steps: list[dict[str, t.Any]] = []
    for task in tasks:
        module = next(key for key in task if key.startswith(COLLECTION))
        reached = {} if module in WITHOUT_URI else {"uri": "test:///default"}
        step = {module: {**(task[module] or {}), **reached}, "check_mode": True, "ignore_errors": True}
        steps.append({"name": f"Task {len(steps)}", "register": f"answer{len(steps)}", **step})
    answers = ", ".join(f"answer{number}" for number in range(len(steps)))
    target = folder / "answers.json"
    copy = {"content": "{{ [" + answers + "] | to_json }}", "dest": str(target), "mode": "0600"}
    steps.append({"name": "Keep the answers", "ansible.builtin.copy": copy})
    variables = {"ansible_python_interpreter": "/usr/bin/python3"}
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": steps}
    path = folder / "answers.yml"
    path.write_text(json.dumps([play]))
    done = _run(["ansible-playbook", str(path)], folder)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    result: list[dict[str, t.Any]] = json.loads(target.read_text())
    return result


@pytest.fixture(scope="module")
def answers(playbooks: Path) -> dict[str, dict[str, t.Any]]:
    wrong = {
        "name": "A control",
        "virtmem.libvirt.memory_device": {"domain": "web1", "alias": "vm0", "requsted": "1GiB"},
    }
    given = _answers([*(task for _which, task in OUR_TASKS), wrong], playbooks)
    return dict(zip([*(which for which, _task in OUR_TASKS), "control"], given, strict=True))


def test_there_are_examples_in_the_readme() -> None:
    assert any(which.startswith("README.md") for which, _task in OUR_TASKS)


@pytest.mark.parametrize("which", [which for which, _task in OUR_TASKS])
def test_the_module_takes_the_arguments(which: str, answers: dict[str, dict[str, t.Any]]) -> None:
    answer = answers[which]
    assert not answer.get("failed") or answer.get("error_code") in FINE, answer.get("msg")


def test_an_unknown_argument_would_be_found(answers: dict[str, dict[str, t.Any]]) -> None:
    assert "requsted" in answers["control"]["msg"]
    assert "error_code" not in answers["control"]


def _codes() -> set[str]:
    return set(ERROR_CODES)


def test_the_guide_explains_every_error_code_and_no_other() -> None:
    sections = re.findall(r"^([a-z_]+)\n~+$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(sections) == len(set(sections))
    assert set(sections) == _codes()


def test_the_modules_document_every_error_code_and_no_other() -> None:
    documented: set[str] = set()
    for module in MODULES:
        text = module.read_text(encoding="utf-8")
        section = text.partition("\nerror_code:\n")[2].partition("\ndetails:\n")[0]
        documented |= set(re.findall(r"C\(([a-z]+_[a-z_]+|unsupported)\)", section))
    assert documented == _codes()
