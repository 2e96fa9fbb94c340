# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# REUSE-IgnoreStart: the licence lines below are what is tested

"""The layers of the collection, checked in the source: who may import and name what, and how a file must look.

The checker is a function of text, so that it can be shown to fail.
"""

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory import errors

PLUGINS = Path(errors.__file__).parents[2]
FILES = sorted(str(path.relative_to(PLUGINS)) for path in PLUGINS.rglob("*.py"))

CORE = "module_utils/_memory/"
UTILS = "module_utils/"
TOP = "module_utils/_module.py"

# What only one file, or one folder, may import.
ONLY_IN = {
    "lxml": "module_utils/_memory/xml/",
    "libvirt": "module_utils/_libvirt/",
    "ansible.module_utils.basic": TOP,
}
# The layers of module_utils from below; a file imports nothing above itself.
LAYERS = (
    "_archive",
    "_memory",
    "_libvirt",
    "_observe",
    "_survey",
    "_apply",
    "_options",
    "_report",
    "_progress",
    "_module",
)
# Within the folder that applies plans.
_UNCHANGING = ("witness", "job", "task", "hearing", "prepare")
ROOMS = (*_UNCHANGING, "guests", "failure", "steps", "tell", "wait", "verify", "whole")
# What reads and reports has no business with.
PLANNING = frozenset({"plan", "progress", "rules"})
# What would let clock, chance or the outside world into the core.
_IMPURE = """
ansible asyncio concurrent datetime glob http io locale logging multiprocessing os pathlib queue random secrets select
shutil signal socket sqlite3 ssl subprocess sys tempfile threading time urllib
"""
IMPURE = frozenset(_IMPURE.split())
IMPURE_CALLS = frozenset({"open", "print", "input", "breakpoint"})
BROAD = frozenset({"Exception", "BaseException"})
ENDS_OF_A_MODULE = frozenset({"fail_json", "exit_json"})


# --- the checker


def complaints(path: str, source: str) -> list[str]:
    """What is wrong with this file, each as a line number and a word or two.

    Args:
        path: where it stands below plugins/.
        source: its text.
    """
    tree = ast.parse(source)
    found = [*_head(source, tree)]
    for node in ast.walk(tree):
        found += [f"{getattr(node, 'lineno', 1)}: {what}" for what in _at(path, node)]
    if path.startswith("modules/"):
        found += _beyond_documentation(tree)
    return found + list(_undocumented(tree.body, path))


def _head(source: str, tree: ast.Module) -> t.Iterator[str]:
    lines = [line for line in source.splitlines()[:4] if not line.startswith("#!")]
    head = "\n".join(line for line in lines if line.startswith("#"))
    if "Copyright (c)" not in head:
        yield "1: no copyright"
    if "SPDX-License-Identifier: GPL-3.0-or-later" not in head:
        yield "1: no licence"
    if not ast.get_docstring(tree):
        yield "1: no docstring"


def _at(path: str, node: ast.AST) -> t.Iterator[str]:
    for name, level in _imported(node):
        yield from _import(path, name, level)
    if isinstance(node, ast.Assert):
        yield "assert"
    if isinstance(node, ast.ExceptHandler) and (node.type is None or BROAD & set(_names(node.type))):
        yield "broad except"
    if isinstance(node, ast.Call):
        yield from _call(path, node)
    if path.startswith(UTILS) and path != TOP:
        for name in _words(node):
            if name in ENDS_OF_A_MODULE or name == "check_mode":
                yield f"{name} below the top"


def _call(path: str, node: ast.Call) -> t.Iterator[str]:
    called = _called(node)
    if called == "suppress" and any(BROAD & set(_names(argument)) for argument in node.args):
        yield "broad except"
    if called in ("__import__", "import_module"):
        yield "hidden import"
    if path.startswith(CORE) and isinstance(node.func, ast.Name) and called in IMPURE_CALLS:
        yield f"{called} in the core"


def _imported(node: ast.AST) -> t.Iterator[tuple[str, int]]:
    """What a statement imports: full names, and how many packages up they begin (0: an absolute name)."""
    if isinstance(node, ast.Import):
        yield from ((item.name, 0) for item in node.names)
    if isinstance(node, ast.ImportFrom):
        yield from ((f"{node.module}.{item.name}" if node.module else item.name, node.level) for item in node.names)


def _import(path: str, name: str, level: int) -> t.Iterator[str]:
    if level:
        yield from _relative_import(path, name, level)
        return
    for library, owner in ONLY_IN.items():
        if f"{name}.".startswith(f"{library}.") and not path.startswith(owner):
            yield f"import of {library}"
    if "AnsibleModule" in name.split(".") and path != TOP:
        yield "import of AnsibleModule"
    if name.startswith("ansible_collections."):
        yield "absolute import of a collection"
    package = name.partition(".")[0]
    if path.startswith(CORE) and package in IMPURE:
        yield f"import of {package} in the core"


def _relative_import(path: str, name: str, level: int) -> t.Iterator[str]:
    # The folder that the name begins in, and with it the layers that both ends belong to.
    folder = path.split("/")[:-1]
    folder = folder[: len(folder) - (level - 1)]
    target = "/".join([*folder, *name.split(".")])
    if not path.startswith(UTILS):
        return
    ours, theirs = _layer(path), _layer(target)
    if ours is not None and (theirs is None or theirs > ours):
        yield f"import of {name} from above"
    if path == f"{UTILS}_observe.py" and PLANNING & set(name.split(".")):
        yield f"import of {name}, which plans"
    room, other = (_room(place) for place in (path, target))
    if room is not None and other is not None and other > room:
        yield f"import of {name} from a later room"


def _layer(path: str) -> int | None:
    part = path[len(UTILS) :].partition("/")[0].partition(".")[0] if path.startswith(UTILS) else ""
    return LAYERS.index(part) if part in LAYERS else None


def _room(path: str) -> int | None:
    """Which of the rooms a file of the folder is, or a name in it."""
    folder, _slash, rest = path[len(UTILS) :].partition("/") if path.startswith(UTILS) else ("", "", "")
    name = rest.partition("/")[0].partition(".")[0]
    return ROOMS.index(name) if folder == "_apply" and name in ROOMS else None


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _names(node: ast.expr) -> t.Iterator[str]:
    for part in node.elts if isinstance(node, ast.Tuple) else [node]:
        yield part.attr if isinstance(part, ast.Attribute) else getattr(part, "id", "")


def _words(node: ast.AST) -> t.Iterator[str]:
    """Every identifier of a node, and a string that may be one for getattr."""
    for field in ("attr", "id", "arg", "name"):
        word = getattr(node, field, None)
        if isinstance(word, str):
            yield word
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def _beyond_documentation(tree: ast.Module) -> t.Iterator[str]:
    """A module is its documentation and main(), which imports and calls one function, all of it compiled once."""
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.If, ast.Expr)):
            continue
        if isinstance(node, ast.Assign) and {getattr(name, "id", "") for name in node.targets} <= {
            "DOCUMENTATION",
            "EXAMPLES",
            "RETURN",
        }:
            continue
        if isinstance(node, ast.FunctionDef) and node.name == "main":
            yield from _beyond_one_call(node)
        else:
            yield f"{node.lineno}: more than documentation"


def _beyond_one_call(main: ast.FunctionDef) -> t.Iterator[str]:
    """One block, of an import and a call."""
    block = main.body[0]
    if not isinstance(block, ast.With) or "compiled_once" not in ast.dump(block.items[0]):
        yield f"{main.lineno}: not compiled once"
    elif len(main.body) > 1 or [type(item) for item in block.body] != [ast.ImportFrom, ast.Expr]:
        yield f"{main.lineno}: more than documentation"


def _undocumented(body: list[ast.stmt], path: str, public: bool = True) -> t.Iterator[str]:
    """Functions without type hints, and public ones without docstring, in classes too."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            seen = public and not node.name.startswith("_")
            if seen and not ast.get_docstring(node):
                yield f"{node.lineno}: class {node.name} without docstring"
            yield from _undocumented(node.body, path, seen)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if _without_hints(node):
                yield f"{node.lineno}: {node.name} without type hints"
            main = path.startswith("modules/") and node.name == "main"
            if public and not main and not node.name.startswith("_") and not ast.get_docstring(node):
                yield f"{node.lineno}: {node.name} without docstring"
            yield from _undocumented(node.body, path, public=False)
        else:
            inner = [item for item in ast.iter_child_nodes(node) if isinstance(item, ast.stmt)]
            yield from _undocumented(inner, path, public)


def _without_hints(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    spec = node.args
    every = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, spec.vararg, spec.kwarg]
    named = [item for item in every if item is not None and item.arg not in ("self", "cls")]
    return node.returns is None or any(item.annotation is None for item in named)


# --- the collection


@pytest.mark.parametrize("path", FILES)
def test_a_file_keeps_to_its_layer(path: str) -> None:
    assert complaints(path, (PLUGINS / path).read_text(encoding="utf-8")) == []


# A file or a function that is longer has more than one thing to do. Documentation is no code.
LONGEST_FILE, LONGEST_FUNCTION = 400, 50


@pytest.mark.parametrize("path", FILES)
def test_a_file_and_a_function_have_an_end(path: str) -> None:
    source = (PLUGINS / path).read_text(encoding="utf-8")
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    long = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert [name for name, length in long.items() if length > LONGEST_FUNCTION] == []
    assert len(source.splitlines()) <= LONGEST_FILE


def test_every_layer_was_looked_at() -> None:
    assert "modules/memory_device.py" in FILES
    assert all(any(path.startswith(owner) for path in FILES) for owner in ONLY_IN.values())
    assert {path.split("/")[-1][:-3] for path in FILES if "/_apply/" in path} == set(ROOMS)
    for layer in LAYERS:
        assert any(_layer(path) == LAYERS.index(layer) for path in FILES), layer


# --- the checker can fail

HEAD = "# Copyright (c) 2026 x\n# SPDX-License-Identifier: GPL-3.0-or-later\n'''What lives here.'''\n"
SIZE = CORE + "size.py"
XML = CORE + "xml/element.py"
LIBVIRT = UTILS + "_libvirt/connection.py"
APPLY = UTILS + "_apply/steps.py"
OBSERVE = UTILS + "_observe.py"
MAIN = "def main() -> None:\n    with compiled_once():\n        from .b import a\n        a()"


@pytest.mark.parametrize(
    ("path", "code", "complaint"),
    [
        (SIZE, "from lxml import etree", "import of lxml"),
        (SIZE, "import lxml.etree as e", "import of lxml"),
        (LIBVIRT, "from lxml.etree import tostring", "import of lxml"),
        (SIZE, "def _f() -> None:\n    import lxml", "import of lxml"),
        (APPLY, "try:\n    import libvirt\nexcept ImportError:\n    pass", "import of libvirt"),
        (TOP, "import libvirt", "import of libvirt"),
        (XML, "import libvirt", "import of libvirt"),
        (
            "modules/x.py",
            "from ansible.module_utils.basic import AnsibleModule",
            "import of ansible.module_utils.basic",
        ),
        (APPLY, "from ansible.module_utils import basic", "import of ansible.module_utils.basic"),
        (APPLY, "from ansible.module_utils.elsewhere import AnsibleModule", "import of AnsibleModule"),
        (APPLY, "from ansible_collections.a.b.plugins import c", "absolute import of a collection"),
        (SIZE, "from ansible.module_utils.common import text", "import of ansible in the core"),
        *((SIZE, f"import {name}", f"import of {name} in the core") for name in sorted(IMPURE)),
        (SIZE, "from os import path", "import of os in the core"),
        (SIZE, "from os.path import join", "import of os in the core"),
        (SIZE, "open('/etc/passwd')", "open in the core"),
        (SIZE, "print('x')", "print in the core"),
        (SIZE, "from .._libvirt import calls", "import of _libvirt.calls from above"),
        (SIZE, "from .._apply import wait", "import of _apply.wait from above"),
        (LIBVIRT, "from .._apply import wait", "import of _apply.wait from above"),
        (LIBVIRT, "from .. import _module", "import of _module from above"),
        (APPLY, "from .._module import x", "import of _module.x from above"),
        (APPLY, "from ...modules import memory_device", "import of modules.memory_device from above"),
        (APPLY, "from .wait import wait", "import of wait.wait from a later room"),
        (
            OBSERVE,
            "from ._memory.plan.domain import plan_domain",
            "import of _memory.plan.domain.plan_domain, which plans",
        ),
        (OBSERVE, "from ._memory import rules", "import of _memory.rules, which plans"),
        (SIZE, "__import__('lxml')", "hidden import"),
        (SIZE, "import importlib\nimportlib.import_module('lxml')", "hidden import"),
        (SIZE, "assert True", "assert"),
        (TOP, "try:\n    pass\nexcept:\n    raise", "broad except"),
        (TOP, "try:\n    pass\nexcept Exception:\n    raise", "broad except"),
        (TOP, "try:\n    pass\nexcept (ValueError, BaseException) as e:\n    raise", "broad except"),
        (TOP, "import builtins\ntry:\n    pass\nexcept builtins.Exception:\n    raise", "broad except"),
        (TOP, "import contextlib\nwith contextlib.suppress(Exception):\n    pass", "broad except"),
        (APPLY, "_m = None\n_m.fail_json()", "fail_json below the top"),
        (APPLY, "_m = None\n_m.exit_json()", "exit_json below the top"),
        (APPLY, "_m = None\ngetattr(_m, 'fail_json')()", "fail_json below the top"),
        (APPLY, "def _f(check_mode: bool) -> None:\n    pass", "check_mode below the top"),
        (APPLY, "_m = None\nif _m.check_mode:\n    pass", "check_mode below the top"),
        (APPLY, "print(check_mode=True)", "check_mode below the top"),
        (APPLY, "def _f(a) -> None:\n    pass", "_f without type hints"),
        (APPLY, "def _f(*a) -> None:\n    pass", "_f without type hints"),
        (APPLY, "def _f(*, a: int, **b) -> None:\n    pass", "_f without type hints"),
        (APPLY, "def _f(a: int):\n    pass", "_f without type hints"),
        (APPLY, "async def _f():\n    pass", "_f without type hints"),
        (APPLY, "class _C:\n    def _f(self):\n        pass", "_f without type hints"),
        (APPLY, "def _f() -> None:\n    def g(a):\n        pass", "g without type hints"),
        (APPLY, "if True:\n    def f(a):\n        '''d'''", "f without type hints"),
        (APPLY, "def f() -> None:\n    pass", "f without docstring"),
        (APPLY, "class C:\n    pass", "class C without docstring"),
        (APPLY, "class C:\n    '''d'''\n    def f(self) -> None:\n        pass", "f without docstring"),
        ("modules/x.py", "_TABLE = {}", "more than documentation"),
        ("modules/x.py", "def helper() -> None:\n    '''d'''", "more than documentation"),
        ("modules/x.py", f"{MAIN}\n    b()", "more than documentation"),
        ("modules/x.py", f"{MAIN}\n        b()", "more than documentation"),
        ("modules/x.py", "def main() -> None:\n    a()", "not compiled once"),
    ],
)
def test_the_checker_finds(path: str, code: str, complaint: str) -> None:
    found = complaints(path, HEAD + code + "\n")
    assert complaint in [what.split(": ", 1)[1] for what in found]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("'''d'''\n", "1: no copyright"),
        ("# Copyright (c) 2026 x\n'''d'''\n", "1: no licence"),
        ("# Copyright (c) 2026 x\n# SPDX-License-Identifier: MIT\n'''d'''\n", "1: no licence"),
        (
            "#\n#\n#\n#\n# Copyright (c) 2026 x\n# SPDX-License-Identifier: GPL-3.0-or-later\n'''d'''\n",
            "1: no copyright",
        ),
        ("# Copyright (c) 2026 x\n# SPDX-License-Identifier: GPL-3.0-or-later\n", "1: no docstring"),
    ],
)
def test_the_checker_finds_a_bad_head(source: str, complaint: str) -> None:
    assert complaint in complaints(SIZE, source)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (XML, "try:\n    from lxml import etree\nexcept ImportError:\n    pass"),
        (LIBVIRT, "import libvirt\nimport threading\nfrom ._memory.errors import VirtmemError"),
        (APPLY, "import time\nfrom .._libvirt.connection import Hypervisor\nfrom .._memory import xml"),
        (
            TOP,
            "from ansible.module_utils.basic import AnsibleModule\n_m = AnsibleModule()\n_m.fail_json(_m.check_mode)",
        ),
        (SIZE, "import re\nfrom .errors import VirtmemError\nfrom . import support"),
        (SIZE, "_LIBVIRTISH = 'fail_json is a word in a sentence'"),
        (TOP, "try:\n    pass\nexcept (ValueError, OSError):\n    pass"),
        (APPLY, "class _C:\n    def f(self) -> None:\n        pass"),
        (APPLY, "class C:\n    '''d'''\n    @classmethod\n    def f(cls, a: int) -> int:\n        '''d'''"),
        ("modules/x.py", f"DOCUMENTATION = ''\n{MAIN}\nif __name__ == '__main__':\n    main()"),
    ],
)
def test_the_checker_leaves_good_files_alone(path: str, code: str) -> None:
    assert complaints(path, HEAD + code + "\n") == []


# REUSE-IgnoreEnd
