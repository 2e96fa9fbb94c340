# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a device, and of a guest, in the documents that repeat them, from the fragments that people write.

`make options` writes them; with `--check`, as `make lint` calls it, what would be written fails instead.
"""

from __future__ import annotations

import re
import sys
import typing as t
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
FRAGMENTS = "plugins/doc_fragments"
# A fragment, and the module whose documentation has its text.
SOURCES = {"_device": "virtmem.libvirt.memory_device#module", "_guest": "virtmem.libvirt.guest_memory#module"}
# Where the blocks stand: the document, and the key above them.
PLACES = (("plugins/modules/memory_layout.py", "suboptions"),)


def mark(fragment: str) -> str:
    """The first line of each block."""
    return f"# From {FRAGMENTS}/{fragment}.py, by `make options`."


Options = t.Mapping[str, t.Mapping[str, t.Any]]


def source(fragment: str) -> Options:
    """The options as the fragment has them."""
    text = (ROOT / FRAGMENTS / f"{fragment}.py").read_text(encoding="utf-8")
    found = re.search(r'DOCUMENTATION = r"""\n(.*?)"""', text, re.DOTALL)
    if found is None:
        raise SystemExit(f"{fragment} has no documentation.")
    options: Options = yaml.safe_load(found.group(1))["options"]
    return options


def block(options: Options, indent: int, key: str, module: str, path: str = "") -> list[str]:
    """The lines of these options: the same types, choices and defaults, and for the text a link to it."""
    pad = " " * indent
    lines: list[str] = []
    for name, option in options.items():
        lines += [f"{pad}{name}:", f"{pad}  description:", f"{pad}    - As O({module}:{path}{name})."]
        lines.append(f"{pad}  type: {option['type']}")
        if "choices" in option:
            lines.append(f"{pad}  choices: [{', '.join(option['choices'])}]")
        if "default" in option:
            lines.append(f"{pad}  default: {yaml.safe_dump(option['default']).splitlines()[0]}")
        if "suboptions" in option:
            lines.append(f"{pad}  {key}:")
            lines += block(option["suboptions"], indent + 4, key, module, f"{path}{name}.")
    return lines


def renewed(text: str, key: str, fragment: str, options: Options) -> str:
    """The document with the block below the fragment's mark as it must be."""
    lines = text.split("\n")
    start = next((number for number, line in enumerate(lines) if line.strip() == mark(fragment)), None)
    if start is None:
        raise SystemExit(f"There is no line {mark(fragment)!r}.")
    indent = len(lines[start]) - len(lines[start].lstrip())
    end = start + 1
    while lines[end].startswith(" " * indent) and "by `make options`" not in lines[end]:
        end += 1
    return "\n".join([*lines[: start + 1], *block(options, indent, key, SOURCES[fragment]), *lines[end:]])


def main(check: bool) -> None:
    """Writes the documents, or says which are not as they would be written."""
    stale = []
    for name, key in PLACES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        new = text
        for fragment in SOURCES:
            new = renewed(new, key, fragment, source(fragment))
        if new != text:
            stale.append(name)
            if not check:
                path.write_text(new, encoding="utf-8")
    if stale and check:
        raise SystemExit(f"Not as {FRAGMENTS} has it: {', '.join(stale)}. Run make options.")


if __name__ == "__main__":
    main("--check" in sys.argv[1:])
