# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Gives devices every option there is, and looks in libvirt's own XML for what became of it.

Reads from its input, as JSON: lab, uri, cases (see vars/main.yml), and words that stand for others in them.
"""

from __future__ import annotations

import json
import sys
import typing as t
import xml.etree.ElementTree as ET

import libvirt
from call import call


class Wrong(Exception):
    """A case ends in another way than it must."""


def _need(holds: bool, what: str, answer: t.Mapping[str, t.Any]) -> None:
    if not holds:
        shown = ("changed", "error_code", "msg", "steps", "restart_reasons")
        raise Wrong(f"{what}: {json.dumps({name: answer.get(name) for name in shown})}")


def _number(text: str) -> int:
    major, minor = text.split(".")
    return int(major) * 1_000_000 + int(minor) * 1_000


def _dotted(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"


class Checker:
    """The lab as the cases see it."""

    def __init__(self, given: t.Mapping[str, t.Any]) -> None:
        self.uri: str = given["uri"]
        self.connection = libvirt.open(self.uri)
        self.versions = {"libvirt": self.connection.getLibVersion(), "qemu": self.connection.getVersion()}

    def has(self, needs: t.Mapping[str, str]) -> bool:
        """Whether this lab has what an option needs."""
        return all(self.versions[name] >= _number(version) for name, version in needs.items())

    def devices(self, domain: str, scope: str) -> dict[str, str]:
        """The memory devices of one scope by alias, as libvirt prints them."""
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE if scope == "config" else 0
        handle = self.connection.lookupByName(domain)
        if scope == "live" and not handle.isActive():
            return {}
        root = ET.fromstring(handle.XMLDesc(flags))
        found = {}
        for number, memory in enumerate(root.findall("devices/memory")):
            alias = memory.find("alias")
            name = str(number) if alias is None else alias.get("name", "")
            found[name] = ET.tostring(memory, encoding="unicode").strip()
        return found

    def refused(self, options: t.Mapping[str, t.Any], error_code: str, mentions: t.Sequence[str]) -> None:
        """The options are refused, in check mode and for real, for these reasons, and nothing changes.

        Raises:
            Wrong: they are not.
        """
        before = [self.devices(options["domain"], scope) for scope in ("live", "config")]
        for check_mode in (True, False):
            answer = call(check_mode=check_mode, uri=self.uri, **options)
            _need(answer.get("error_code") == error_code, f"{error_code} is expected", answer)
            _need(all(text in answer["msg"] for text in mentions), f"{mentions} are expected", answer)
            _need(not answer["changed"] and answer["steps"] == [], "it claims a change", answer)
        _need(before == [self.devices(options["domain"], scope) for scope in ("live", "config")], "it changed", answer)

    def delivered(
        self, alias: str, options: t.Mapping[str, t.Any], has: t.Mapping[str, str], scopes: list[str]
    ) -> None:
        """The options are carried out in these scopes, others left alone, and a second run does nothing.

        Args:
            alias: the device's.
            options: of the task.
            has: what libvirt must print of the device then, by its place in the element.
            scopes: those that must change.

        Raises:
            Wrong: it is not so.
        """
        before = {scope: self.devices(options["domain"], scope) for scope in ("live", "config")}
        plan = call(check_mode=True, uri=self.uri, **options)
        done = call(uri=self.uri, **options)
        _need("error_code" not in done, "it fails", done)
        _need(sorted(step["scope"] for step in done["steps"]) == sorted(scopes), f"{scopes} should change", done)
        _need(done["steps"] == plan["steps"] and done["diff"] == plan["diff"], "check mode planned otherwise", plan)
        after = {scope: self.devices(options["domain"], scope) for scope in ("live", "config")}
        for scope in ("live", "config"):
            if scope not in scopes:
                _need(after[scope] == before[scope], f"{scope} changed", done)
                continue
            others = [{name: text for name, text in side[scope].items() if name != alias} for side in (before, after)]
            _need(others[0] == others[1], f"another device changed in {scope}", done)
            element = ET.fromstring(after[scope][alias])
            for place, text in has.items():
                _need(_at(element, place) == text, f"{scope}: {place} is {_at(element, place)}, not {text}", done)
        again = call(uri=self.uri, **options)
        _need(not again["changed"] and again["steps"] == [], "the second run changes it again", again)
        _need({scope: self.devices(options["domain"], scope) for scope in ("live", "config")} == after, "again", again)


def _at(element: ET.Element, place: str) -> str | None:
    """The text at a place such as target/label/size or target@dynamicMemslots; yes for an empty element."""
    path, _, attribute = place.partition("@")
    found = element.find(path) if path else element
    if found is None:
        return None
    return found.get(attribute) if attribute else (found.text or "").strip() or "yes"


def _run(checker: Checker, case: t.Mapping[str, t.Any], number: int) -> None:
    options = {"domain": case["domain"], "alias": f"ua-knob{number}", "wait": False, **case["give"]}
    if "error_code" in case:
        checker.refused(options, case["error_code"], case["mentions"])
        return
    if not checker.has(case.get("needs", {})):
        numbers = [_dotted(_number(text)) for text in case["needs"].values()]
        checker.refused(options, "unsupported", [*numbers, *map(_dotted, checker.versions.values())])
        return
    checker.delivered(options["alias"], options, case["has"], case["scopes"])
    if "then" in case:
        options = {**options, **case["then"]}
        checker.delivered(options["alias"], options, case["has_then"], case["scopes_then"])


def _fault(checker: Checker, case: t.Mapping[str, t.Any], number: int) -> str:
    try:
        _run(checker, case, number)
    except (Wrong, libvirt.libvirtError) as wrong:
        return f"{case['domain']} {json.dumps(case['give'])}: {wrong}"
    return ""


def main() -> None:
    """Prints what is wrong, and how many cases there were."""
    given = json.load(sys.stdin)
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    checker = Checker(given)
    faults = [text for number, case in enumerate(given["cases"]) if (text := _fault(checker, case, number))]
    print("\n".join(faults))
    print(f"{len(given['cases'])} cases, {len(faults)} faults")
    sys.exit(1 if faults or not given["cases"] else 0)


# A process that is forked for a call imports this file as well.
if __name__ == "__main__":
    main()
