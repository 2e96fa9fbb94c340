# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Gives devices every option there is, and looks in libvirt's own XML for what became of it.

Reads from its input, as JSON: lab, uri, cases (see vars/main.yml), and words that stand for others in them.
"""

from __future__ import annotations

import json
import sys
import typing as t

import libvirt
from checker import Checker, Wrong, dotted, number


def _run(checker: Checker, case: t.Mapping[str, t.Any], place: int) -> None:
    options = {"domain": case["domain"], "alias": f"ua-knob{place}", "wait": False, **case["give"]}
    if "error_code" in case:
        checker.refused(options, case["error_code"], case["mentions"])
        return
    if not checker.has(case.get("needs", {})):
        numbers = [dotted(number(text)) for text in case["needs"].values()]
        checker.refused(options, "unsupported", [*numbers, *map(dotted, checker.versions.values())])
        return
    checker.delivered(options["alias"], options, case["has"], case["scopes"])
    if "then" in case:
        options = {**options, **case["then"]}
        checker.delivered(options["alias"], options, case["has_then"], case["scopes_then"])


def _fault(checker: Checker, case: t.Mapping[str, t.Any], place: int) -> str:
    try:
        _run(checker, case, place)
    except (Wrong, libvirt.libvirtError) as wrong:
        return f"{case['domain']} {json.dumps(case['give'])}: {wrong}"
    return ""


def main() -> None:
    """Prints what is wrong, and how many cases there were."""
    given = json.load(sys.stdin)
    checker = Checker(given["uri"])
    faults = [text for place, case in enumerate(given["cases"]) if (text := _fault(checker, case, place))]
    print("\n".join(faults))
    print(f"{len(given['cases'])} cases, {len(faults)} faults")
    sys.exit(1 if faults or not given["cases"] else 0)


# A process that is forked for a call imports this file as well.
if __name__ == "__main__":
    main()
