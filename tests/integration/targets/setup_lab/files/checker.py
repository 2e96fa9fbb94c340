# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What scripts of targets have in common: a declaration that must be delivered, or refused, as libvirt sees it."""

from __future__ import annotations

import json
import typing as t
import xml.etree.ElementTree as ET

import libvirt
from call import call


class Wrong(Exception):
    """A case ends in another way than it must."""


def need(holds: bool, what: str, answer: t.Mapping[str, t.Any]) -> None:
    """What has to be so of an answer.

    Raises:
        Wrong: it is not.
    """
    if not holds:
        shown = ("changed", "error_code", "msg", "steps", "restart_reasons")
        raise Wrong(f"{what}: {json.dumps({name: answer.get(name) for name in shown})}")


def number(text: str) -> int:
    """10.1 as libvirt counts."""
    major, minor = text.split(".")
    return int(major) * 1_000_000 + int(minor) * 1_000


def dotted(version: int) -> str:
    """What libvirt counts, as people read it."""
    return f"{version // 1_000_000}.{version // 1_000 % 1_000}.{version % 1_000}"


class Checker:
    """The lab as the cases see it."""

    def __init__(self, uri: str) -> None:
        # Else it prints what is caught here.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        self.uri = uri
        self.connection = libvirt.open(uri)
        self.versions = {"libvirt": self.connection.getLibVersion(), "qemu": self.connection.getVersion()}

    def has(self, needs: t.Mapping[str, str]) -> bool:
        """Whether this lab has what an option needs."""
        return all(self.versions[name] >= number(version) for name, version in needs.items())

    def devices(self, domain: str, scope: str) -> dict[str, str]:
        """The memory devices of one scope by alias, as libvirt prints them."""
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE if scope == "config" else 0
        handle = self.connection.lookupByName(domain)
        if scope == "live" and not handle.isActive():
            return {}
        root = ET.fromstring(handle.XMLDesc(flags))
        found = {}
        for place, memory in enumerate(root.findall("devices/memory")):
            alias = memory.find("alias")
            name = str(place) if alias is None else alias.get("name", "")
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
            need(answer.get("error_code") == error_code, f"{error_code} is expected", answer)
            need(all(text in answer["msg"] for text in mentions), f"{mentions} are expected", answer)
            need(not answer["changed"] and answer["steps"] == [], "it claims a change", answer)
        need(before == [self.devices(options["domain"], scope) for scope in ("live", "config")], "it changed", answer)

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
        need("error_code" not in done, "it fails", done)
        need(sorted(step["scope"] for step in done["steps"]) == sorted(scopes), f"{scopes} should change", done)
        need(done["steps"] == plan["steps"] and done["diff"] == plan["diff"], "check mode planned otherwise", plan)
        after = {scope: self.devices(options["domain"], scope) for scope in ("live", "config")}
        for scope in ("live", "config"):
            if scope not in scopes:
                need(after[scope] == before[scope], f"{scope} changed", done)
                continue
            others = [{name: text for name, text in side[scope].items() if name != alias} for side in (before, after)]
            need(others[0] == others[1], f"another device changed in {scope}", done)
            element = ET.fromstring(after[scope][alias])
            for place, text in has.items():
                need(_at(element, place) == text, f"{scope}: {place} is {_at(element, place)}, not {text}", done)
        again = call(uri=self.uri, **options)
        need(not again["changed"] and again["steps"] == [], "the second run changes it again", again)
        need({scope: self.devices(options["domain"], scope) for scope in ("live", "config")} == after, "again", again)


def _at(element: ET.Element, place: str) -> str | None:
    """The text at a place such as target/label/size or target@dynamicMemslots; yes for an empty element."""
    path, _at_sign, attribute = place.partition("@")
    found = element.find(path) if path else element
    if found is None:
        return None
    return found.get(attribute) if attribute else (found.text or "").strip() or "yes"
