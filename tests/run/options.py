# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a device in the documents that repeat them, from the doc fragment `_device`, where people write them.

`make options` writes them; with `--check`, as `make lint` calls it, what would be written fails instead.
"""

from __future__ import annotations

import re
import sys
import typing as t
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "plugins/doc_fragments/_device.py"
MODULE = "virtmem.libvirt.memory_device#module"
# Where the block stands: the document, and the key above it.
PLACES = (("plugins/modules/memory_layout.py", "suboptions"), ("roles/sizing/meta/argument_specs.yml", "options"))
# The first line of each block.
MARK = "# From plugins/doc_fragments/_device.py, by `make options`."

Options = t.Mapping[str, t.Mapping[str, t.Any]]


def source() -> Options:
    """The options as the fragment has them."""
    text = (ROOT / SOURCE).read_text(encoding="utf-8")
    found = re.search(r'DOCUMENTATION = r"""\n(.*?)"""', text, re.DOTALL)
    if found is None:
        raise SystemExit(f"{SOURCE} has no documentation.")
    options: Options = yaml.safe_load(found.group(1))["options"]
    return options


def block(options: Options, indent: int, key: str, path: str = "") -> list[str]:
    """The lines of these options: the same types, choices and defaults, and for the text a link to it."""
    pad = " " * indent
    lines: list[str] = []
    for name, option in options.items():
        lines += [f"{pad}{name}:", f"{pad}  description:", f"{pad}    - As O({MODULE}:{path}{name})."]
        lines.append(f"{pad}  type: {option['type']}")
        if "choices" in option:
            lines.append(f"{pad}  choices: [{', '.join(option['choices'])}]")
        if "default" in option:
            lines.append(f"{pad}  default: {yaml.safe_dump(option['default']).splitlines()[0]}")
        if "suboptions" in option:
            lines.append(f"{pad}  {key}:")
            lines += block(option["suboptions"], indent + 4, key, f"{path}{name}.")
    return lines


def renewed(text: str, key: str, options: Options) -> str:
    """The document with the block below the mark as it must be."""
    lines = text.split("\n")
    start = next((number for number, line in enumerate(lines) if line.strip() == MARK), None)
    if start is None:
        raise SystemExit(f"There is no line {MARK!r}.")
    indent = len(lines[start]) - len(lines[start].lstrip())
    end = start + 1
    while lines[end].startswith(" " * indent):
        end += 1
    return "\n".join([*lines[: start + 1], *block(options, indent, key), *lines[end:]])


def main(check: bool) -> None:
    """Writes the documents, or says which are not as they would be written."""
    stale = []
    for name, key in PLACES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        new = renewed(text, key, source())
        if new != text:
            stale.append(name)
            if not check:
                path.write_text(new, encoding="utf-8")
    if stale and check:
        raise SystemExit(f"Not as {SOURCE} has it: {', '.join(stale)}. Run make options.")


if __name__ == "__main__":
    main("--check" in sys.argv[1:])
