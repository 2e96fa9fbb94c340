# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables of the guide to what happens where, made of the data that drives the integration tests.

`python tests/docs/matrix.py` writes them into the guide; test_matrix.py sees that they are there.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "tests" / "integration" / "targets" / "memory_device_states" / "vars" / "main.yml"
GUIDE = ROOT / "docs" / "docsite" / "rst" / "guide_matrix.rst"
BEGIN = ".. The tables from here on are made by tests/docs/matrix.py: change what it reads, and run it.\n"

OPERATIONS = {
    "attach": "a new device",
    "attach the first": "the first device of this model",
    "request": "another ``requested``",
    "change": "another ``size``",
    "replace": "another ``size``, with ``replace: true``",
    "remove": "``state: absent``",
}
PRODUCTS = {"libvirt": "libvirt", "qemu": "QEMU"}


def _versions(rows: t.Mapping[str, t.Any]) -> str:
    limits = [f"{PRODUCTS[name]} {value} or later" for name, value in rows.get("since", {}).items()]
    limits += [f"{PRODUCTS[name]} before {value}" for name, value in rows.get("before", {}).items()]
    return f" ({', '.join(limits)})" if limits else ""


def _cell(word: str, words: t.Mapping[str, t.Any]) -> str:
    if word == "-":
        return "can't be"
    text: str = words[word]["text"] if word in words else f"``{word}``"
    return text


def _table(title: str, rows: t.Sequence[t.Sequence[str]]) -> str:
    lines = [f".. list-table:: {title}", "   :header-rows: 1", "   :stub-columns: 1", ""]
    for row in rows:
        lines += [f"   {'*' if number == 0 else ' '} - {cell}" for number, cell in enumerate(row)]
    return "\n".join([*lines, "", ""])


def tables() -> str:
    """All of them, as reStructuredText."""
    data = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    parts = []
    for model in dict.fromkeys(rows["model"] for rows in data["matrix"]):
        parts.append(f"{model}\n{'-' * len(model)}\n\n")
        for rows in data["matrix"]:
            if rows["model"] == model:
                head = ["scope", *data["columns"]]
                body = [
                    [scope, *(_cell(word, data["words"]) for word in words)] for scope, words in rows["scopes"].items()
                ]
                title = f"{model}: {OPERATIONS[rows['operation']]}{_versions(rows)}"
                parts.append(_table(title, [head, *body]) + "\n")
    return "".join(parts).rstrip("\n") + "\n"


def main() -> None:
    """Writes the tables into the guide."""
    text = GUIDE.read_text(encoding="utf-8")
    GUIDE.write_text(text.partition(BEGIN)[0] + BEGIN + "\n" + tables(), encoding="utf-8")


if __name__ == "__main__":
    main()
