# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The error codes: every one that is raised is in the table, every one in the table is raised and documented."""

from __future__ import annotations

import ast
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory import errors
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import ERROR_CODES, VirtmemError

PLUGINS = Path(errors.__file__).parents[2]
TREES = {
    str(path.relative_to(PLUGINS)): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PLUGINS.rglob("*.py"))
}
CODE = re.compile(r"[a-z]+(_[a-z]+)+|unsupported")


def _errors(tree: ast.AST) -> list[ast.Call]:
    """Where a VirtmemError is made."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if getattr(call.func, "id", "") == "VirtmemError"]


def raised(tree: ast.AST) -> set[str]:
    """The codes that a file gives to VirtmemError.

    One that is not written at the call itself must come from a table in the same function: the first words of
    its tuples.
    """
    codes = set()
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.Module)):
            continue
        for call in _errors(function):
            code = call.args[0]
            if isinstance(code, ast.Constant):
                codes.add(str(code.value))
            elif isinstance(function, ast.FunctionDef):
                codes |= _first_words(function)
    return codes


def _first_words(function: ast.FunctionDef) -> set[str]:
    firsts = [node.elts[0] for node in ast.walk(function) if isinstance(node, ast.Tuple) and node.elts]
    words = {node.value for node in firsts if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {word for word in words if CODE.fullmatch(word)}


def decided_on(tree: ast.Module) -> set[str]:
    """The codes that a file compares an error_code with, directly or by a tuple of the file."""
    tables = {
        getattr(node.targets[0], "id", ""): node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)
    }
    codes = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and getattr(node.left, "attr", getattr(node.left, "id", "")) == "error_code":
            for other in node.comparators:
                table: ast.AST = tables.get(getattr(other, "id", ""), other)
                codes |= {
                    part.value
                    for part in ast.walk(table)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                }
    return codes


def documented(tree: ast.Module) -> set[str]:
    """The codes that a module's RETURN lists."""
    texts = [
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and getattr(node.targets[0], "id", "") == "RETURN"
        and isinstance(node.value, ast.Constant)
    ]
    listed: set[str] = set()
    for text in texts:
        entry = re.search(r"^( *)error_code:\n(?:\1 +.*\n)+", str(text), re.MULTILINE)
        listed |= {word for word in re.findall(r"[CV]\((\w+)\)", entry.group(0)) if word != "msg"} if entry else set()
    return listed


def everywhere(look: t.Callable[[t.Any], set[str]]) -> dict[str, set[str]]:
    """What a look at each file found, without the files where it found nothing."""
    return {path: codes for path, codes in ((path, look(tree)) for path, tree in TREES.items()) if codes}


@pytest.mark.parametrize(("path", "codes"), everywhere(raised).items())
def test_every_code_that_is_raised_is_in_the_table(path: str, codes: set[str]) -> None:
    assert codes <= set(ERROR_CODES), path


@pytest.mark.parametrize(("path", "codes"), everywhere(decided_on).items())
def test_every_code_that_is_decided_on_is_in_the_table(path: str, codes: set[str]) -> None:
    assert codes <= set(ERROR_CODES), path


def _without_hint(tree: ast.AST) -> list[int]:
    """The lines of errors that say no way out."""
    return [
        call.lineno
        for call in _errors(tree)
        if len(call.args) < 4 and not any(item.arg == "hint" for item in call.keywords)
    ]


@pytest.mark.parametrize("path", TREES)
def test_every_error_says_a_way_out(path: str) -> None:
    assert not _without_hint(TREES[path])
    assert _without_hint(ast.parse("VirtmemError('a', 'b')"))


def test_every_code_in_the_table_is_raised_somewhere() -> None:
    assert set(ERROR_CODES) == set().union(*everywhere(raised).values())


@pytest.mark.parametrize(("path", "codes"), everywhere(documented).items())
def test_no_module_documents_a_code_that_there_is_not(path: str, codes: set[str]) -> None:
    assert codes <= set(ERROR_CODES), path


def test_every_code_is_documented() -> None:
    assert set().union(*everywhere(documented).values()) == set(ERROR_CODES)


def test_the_module_for_one_device_documents_its_codes() -> None:
    assert documented(TREES["modules/memory_device.py"])


def test_every_code_is_explained_by_a_sentence_and_they_are_in_order() -> None:
    for code, meaning in ERROR_CODES.items():
        assert CODE.fullmatch(code), code
        assert meaning[0].isupper() or meaning.startswith("libvirt"), code
        assert meaning.endswith("."), code
    assert list(ERROR_CODES) == sorted(ERROR_CODES)


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        ("def f():\n    raise VirtmemError('not_aligned', 'x')", {"not_aligned"}),
        ("raise VirtmemError('no_such_code', 'x')", {"no_such_code"}),
        (
            "def f(n):\n    code, hint = {1: ('domain_busy', 'b c'), 2: ('new_code', 'x')}.get(n)\n"
            "    return VirtmemError(code, hint)",
            {"domain_busy", "new_code"},
        ),
        ("def f():\n    raise OtherError('not_aligned')", set()),
    ],
)
def test_the_search_finds_what_is_raised(source: str, codes: set[str]) -> None:
    assert raised(ast.parse(source)) == codes


def test_the_search_finds_what_is_decided_on_and_documented() -> None:
    source = "T = ('a_b', 'c_d')\nif e.error_code in T or e.error_code == 'e_f':\n    pass\n"
    assert decided_on(ast.parse(source)) == {"a_b", "c_d", "e_f"}
    before, entry = "x:\n  description: C(not_this)\n", "error_code:\n  description:\n    - C(a_b), C(c).\n"
    assert documented(ast.parse(f"RETURN = '''\n{before}{entry}hint:\n  a: C(d)\n'''")) == {"a_b", "c"}


def test_an_error_carries_what_a_playbook_decides_on() -> None:
    details = {"needed": 5}
    error = VirtmemError("not_aligned", "size: 5 is odd.", details, "Give 6.")
    details["needed"] = 6
    assert (error.error_code, error.msg, error.details, error.hint) == (
        "not_aligned",
        "size: 5 is odd.",
        {"needed": 5},
        "Give 6.",
    )
    assert str(error) == "size: 5 is odd."
    assert VirtmemError("not_aligned", "x").details == {}
