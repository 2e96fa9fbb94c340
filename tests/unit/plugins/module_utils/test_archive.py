# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module imports from Ansible's archive is compiled once, and is otherwise what it would be anyway.

Each case is a process of its own with a zip archive, as Ansible sends one. Python tells of what is compiled by an event
(PEP 578).
"""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
import zipfile
from pathlib import Path

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils import _archive

COLLECTION = Path(_archive.__file__).parents[2]
# All that run on the node; the others are documentation.
SOURCES = {path.stem: path.read_text() for path in (COLLECTION / "plugins" / "modules").glob("*.py")}
MODULES = sorted(module for module, source in SOURCES.items() if "def main" in source)
HERE = "ansible_collections/virtmem/libvirt/plugins"

# Runs code with an archive in front of the path; prints what was compiled of it, and what the code has put into `told`.
RUN = """
import json, sys
archive, code = sys.argv[1:]
compiled, told = [], []
def hear(event, arguments):
    if event == "compile" and str(arguments[1]).startswith(archive):
        compiled.append(arguments[1][len(archive) + 1:])
sys.addaudithook(hear)
sys.path.insert(0, archive)
exec(code)
print(json.dumps([compiled, told]))
"""
ONCE = """
from tools._archive import compiled_once
del compiled[:]
with compiled_once():
    {}
"""
FILES = {
    "tools/__init__.py": "",
    "tools/part/__init__.py": "from . import inner",
    "tools/part/inner.py": "def fail():\n    return 1 // 0  # here",
}


def ran(archive: Path, files: t.Mapping[str, str], code: str) -> tuple[list[str], list[t.Any]]:
    """What was compiled, and what the code told."""
    with zipfile.ZipFile(archive, "w") as made:
        for name, text in files.items():
            made.writestr(name, text)
    words = [sys.executable, "-c", RUN, str(archive), code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    compiled, told = json.loads(done.stdout)
    return compiled, told


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Where an archive is to be."""
    return tmp_path / "sent.zip"


@pytest.fixture
def files() -> dict[str, str]:
    """A package with all that packages have, and the collection's own file."""
    return {**FILES, "tools/_archive.py": Path(_archive.__file__).read_text()}


def test_without_it_python_compiles_each_file_twice(archive: Path, files: dict[str, str]) -> None:
    # The day this is no longer so, the file has done its work.
    compiled, _told = ran(archive, files, "import tools.part")
    assert compiled.count("tools/part/inner.py") == 2


def test_each_file_is_compiled_once(archive: Path, files: dict[str, str]) -> None:
    compiled, _told = ran(archive, files, ONCE.format("import tools.part"))
    assert sorted(compiled) == ["tools/part/__init__.py", "tools/part/inner.py"]


@pytest.mark.parametrize("name", ["tools.part", "tools.part.inner"])
def test_a_module_is_what_it_would_be_anyway(archive: Path, files: dict[str, str], name: str) -> None:
    look = f"import {name} as it; told += [it.__name__, it.__file__, it.__package__, getattr(it, '__path__', None), "
    look += "type(it.__loader__).__name__, it.__spec__.origin, it.__spec__.has_location]"
    assert ran(archive, files, ONCE.format(look))[1] == ran(archive, files, look)[1]


def test_a_traceback_shows_the_line(archive: Path, files: dict[str, str]) -> None:
    code = """
    import tools.part, traceback
    try: tools.part.inner.fail()
    except ZeroDivisionError: told.append(traceback.format_exc())
"""
    assert "return 1 // 0  # here" in ran(archive, files, ONCE.format(code.strip()))[1][0]


def test_what_is_not_there_is_missed_as_ever(archive: Path, files: dict[str, str]) -> None:
    code = """
    try: import tools.part.none
    except ModuleNotFoundError as error: told.append([str(error), error.name])
"""
    _compiled, told = ran(archive, files, ONCE.format(code.strip()))
    assert told == [["No module named 'tools.part.none'", "tools.part.none"]]


def test_what_is_in_no_archive_comes_from_where_it_ever_did(archive: Path, files: dict[str, str]) -> None:
    compiled, told = ran(archive, files, ONCE.format("import xml.dom.minidom as it; told.append(it.__file__)"))
    assert compiled == []
    assert told[0].endswith("minidom.py")


def test_a_package_that_goes_on_elsewhere_is_left_to_python(archive: Path, files: dict[str, str]) -> None:
    elsewhere = archive.with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / "added.py").write_text("")
    code = f"import tools; tools.__path__.insert(0, {str(elsewhere)!r}); import tools.added as it, tools.part; "
    code += "told.append(it.__file__)"
    assert ran(archive, files, ONCE.format(code))[1] == [str(elsewhere / "added.py")]


def test_it_ends_with_the_module(archive: Path, files: dict[str, str]) -> None:
    code = "before = list(sys.meta_path)\n" + ONCE.format("raise SystemExit")
    code = code.replace("with compiled_once", "import contextlib\nwith contextlib.suppress(SystemExit), compiled_once")
    assert ran(archive, files, f"{code}\ntold.append(sys.meta_path == before)")[1] == [True]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_of_the_collection_has_its_files_compiled_once(archive: Path, module: str) -> None:
    basic = pytest.importorskip("ansible.module_utils.basic")
    pytest.importorskip("libvirt")
    sent = {f"{HERE}/{path}": (COLLECTION / "plugins" / path).read_text() for path in ours(module)}
    folders = {parent for name in sent for parent in Path(name).parents if parent != Path()}
    sent = {**{f"{folder}/__init__.py": "" for folder in folders}, **sent}
    options = json.dumps({"ANSIBLE_MODULE_ARGS": {"uri": "test:///default"}})
    code = f"""
import contextlib, io, runpy
sys.path.append({str(Path(basic.__file__).parents[2])!r})
import ansible.module_utils.basic as basic
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = {options!r}.encode(), "legacy"
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    runpy.run_module("{HERE.replace("/", ".")}.modules.{module}", run_name="__main__")
"""
    compiled, _told = ran(archive, sent, code)
    after = compiled[compiled.index(f"{HERE}/module_utils/_module.py") :]
    assert len(after) > 20
    assert sorted(after) == sorted(set(after))


def ours(module: str) -> list[str]:
    """What Ansible sends of the collection with a module, and more."""
    found = (COLLECTION / "plugins" / "module_utils").rglob("*.py")
    return [f"modules/{module}.py", *(str(path.relative_to(COLLECTION / "plugins")) for path in found)]
