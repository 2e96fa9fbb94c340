# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What libvirt itself says of a domain's memory, as JSON: the tests' own eyes, sharing no code with the collection.

Usage: look.py URI DOMAIN
"""

from __future__ import annotations

import hashlib
import json
import sys
import typing as t
import xml.etree.ElementTree as ET

import libvirt

KIB = {"b": 1 / 1024, "bytes": 1 / 1024, "KiB": 1, "MiB": 1024, "GiB": 1024**2}


def size(parent: ET.Element, path: str) -> int | None:
    """Bytes of a scaled element."""
    element = parent.find(path)
    return None if element is None else int(int(element.text or "0") * KIB[element.get("unit", "KiB")] * 1024)


def scope(text: str) -> dict[str, t.Any]:
    """One scope of the domain."""
    root = ET.fromstring(text)
    devices = []
    for memory in root.findall("devices/memory"):
        alias, address = memory.find("alias"), memory.find("address")
        devices.append(
            {
                "model": memory.get("model"),
                "alias": None if alias is None else alias.get("name"),
                "address": None if address is None else dict(address.attrib),
                "node": memory.findtext("target/node"),
                "pagesize": size(memory, "source/pagesize"),
                **{name: size(memory, f"target/{name}") for name in ("size", "block", "requested", "current")},
            }
        )
    # Everything but the memory: what a change of the memory must leave alone.
    for memory in root.findall("devices/memory"):
        root.find("devices").remove(memory)  # type: ignore[union-attr]
    for name in ("memory", "currentMemory"):
        root.remove(root.find(name))  # type: ignore[arg-type]
    rest = ET.canonicalize(ET.tostring(root, encoding="unicode"), strip_text=True)
    parsed = ET.fromstring(text)
    return {
        "devices": devices,
        "memory": size(parsed, "memory"),
        "currentMemory": size(parsed, "currentMemory"),
        "rest": hashlib.sha256(rest.encode()).hexdigest(),
    }


def main() -> None:
    """Prints both scopes."""
    connection = libvirt.open(sys.argv[1])
    domain = connection.lookupByName(sys.argv[2])
    secure = libvirt.VIR_DOMAIN_XML_SECURE
    inactive = secure | libvirt.VIR_DOMAIN_XML_INACTIVE
    json.dump(
        {
            "uuid": domain.UUIDString(),
            "active": bool(domain.isActive()),
            "live": scope(domain.XMLDesc(secure)) if domain.isActive() else None,
            "config": scope(domain.XMLDesc(inactive)) if domain.isPersistent() else None,
        },
        sys.stdout,
    )


main()
