# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""CONTRIBUTING says what a new property and a new model take. Here both are added to a copy of the tree, step by step.

With all the steps the checks pass; whichever is left out, one of them says so. And the steps are those that are named.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from workshop import THOROUGH

ROOT = Path(__file__).resolve().parents[2]
MEMORY = "plugins/module_utils/_memory"
FRAGMENT = "plugins/doc_fragments/_device.py"
INFORMATION = "plugins/modules/memory_device_info.py"
CHECKS = ("tests/unit/plugins/module_utils/_memory/test_tables.py", "tests/unit/plugins/module_utils/test_module.py")
GENERATOR = "make options"


def replaced(name: str, old: str, new: str) -> t.Callable[[Path], None]:
    """A step: a text of a file becomes another one."""

    def step(tree: Path) -> None:
        path = tree / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, (name, old)
        path.write_text(text.replace(old, new), encoding="utf-8")

    return step


def generate(tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What `make options` runs."""
    command = [sys.executable, str(tree / "tests" / "run" / "options.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


LABEL = "label_size        size     target/label/size          label_size        -        compared  alike  -\n"
CHOICES = "choices: [dimm, nvdimm, virtio-mem, virtio-pmem, sgx-epc"
PARAGRAPH = """  shadow:
    description:
      - Made up.
    type: str
  slot:
"""
# The steps for a property `shadow`, by the file that CONTRIBUTING names.
PROPERTY: dict[str, t.Callable[[Path], t.Any]] = {
    "properties.py, a row": replaced(
        f"{MEMORY}/properties.py",
        LABEL,
        f"{LABEL}shadow            text     target/shadow              shadow            -        compared  -      -\n",
    ),
    "properties.py, a field": replaced(
        f"{MEMORY}/properties.py",
        "    label_size: int | None = None\n",
        "    label_size: int | None = None\n    shadow: str | None = None\n",
    ),
    "models.py, a name in options": replaced(
        f"{MEMORY}/models.py",
        'options=frozenset({"node", "discard", "nodemask", "pagesize", "slot", "base"})',
        'options=frozenset({"node", "discard", "nodemask", "pagesize", "slot", "base", "shadow"})',
    ),
    "_device.py, a paragraph": replaced(FRAGMENT, "  slot:\n", PARAGRAPH),
    GENERATOR: generate,
}
UNKNOWN = "# A model of a later libvirt: it can be read"
ROW = f"""MODELS = {{**MODELS, "cxl": MODELS[DIMM]}}

{UNKNOWN}"""
# The steps for a model `cxl`.
MODEL: dict[str, t.Callable[[Path], t.Any]] = {
    "models.py, a row": replaced(f"{MEMORY}/models.py", UNKNOWN, ROW),
    "support.NEEDS, the versions": replaced(
        f"{MEMORY}/support.py", "    SGX_EPC: Need(", '    "cxl": Need(12_000_000, 11_000_000),\n    SGX_EPC: Need('
    ),
    "_device.py, a choice": replaced(FRAGMENT, CHOICES, f"{CHOICES}, cxl"),
    GENERATOR: generate,
    "memory_device_info.py, a choice": replaced(INFORMATION, CHOICES, f"{CHOICES}, cxl"),
}


def copied(folder: Path) -> Path:
    """The tree, where Ansible finds a collection."""
    tree = folder / "ansible_collections" / "virtmem" / "libvirt"
    for part in ("plugins", "roles", "tests/unit", "tests/run"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests" / "generating.py", tree / "tests")
    return tree


def complaints(folder: Path, tree: Path) -> str:
    """What the checks have to say."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *CHECKS]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert "passed" in done.stdout or "failed" in done.stdout or "error" in done.stdout, done.stderr
    options = generate(tree, "--check")
    failed = [run.stdout + run.stderr for run in (done, options) if run.returncode != 0]
    return "\n".join(failed)


ADDITIONS = {"property": PROPERTY, "model": MODEL}


@pytest.mark.parametrize("what", ADDITIONS)
def test_all_the_steps_are_enough(tmp_path: Path, what: str) -> None:
    tree = copied(tmp_path)
    for step in ADDITIONS[what].values():
        step(tree)
    assert complaints(tmp_path, tree) == ""


EVERY_STEP = [(what, name) for what, steps in ADDITIONS.items() for name in steps]
# Each takes some seconds; every third of them shows whether the checks still look.
STEPS = EVERY_STEP if THOROUGH else EVERY_STEP[::3]


@pytest.mark.parametrize(("what", "left_out"), STEPS)
def test_a_step_that_is_left_out_is_found(tmp_path: Path, what: str, left_out: str) -> None:
    tree = copied(tmp_path)
    for name, step in ADDITIONS[what].items():
        if name != left_out:
            step(tree)
    assert complaints(tmp_path, tree)


@pytest.mark.parametrize("what", ADDITIONS)
def test_the_steps_are_those_that_are_named(what: str) -> None:
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
    paragraph = next(part for part in text.split("* ") if part.startswith(f"A {what} "))
    for name in ADDITIONS[what]:
        assert f"`{name.split(',')[0]}`" in paragraph, name
