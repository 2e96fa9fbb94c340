# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What someone would write who has many guests to resize and no module: the calls of memory_layout and no others.

It reads before it plans, again before it writes, and once more to see what came of it; else it would be
quicker, and wrong whenever someone else changes a domain. Usage: bare_layout.py URI PREFIX COUNT REQUESTED_KIB
"""

from __future__ import annotations

import sys
import time
import typing as t
import xml.etree.ElementTree as ET

import libvirt

INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE
SCOPES = ((0, libvirt.VIR_DOMAIN_AFFECT_LIVE), (INACTIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG))


def _read(domain: t.Any, *flags: int) -> list[ET.Element]:
    """The domain's only memory device in these scopes."""
    domain.state()
    if INACTIVE in flags and not domain.isPersistent():
        sys.exit(f"{domain.name()} is transient.")
    found = [ET.fromstring(domain.XMLDesc(flag)).find("devices/memory") for flag in flags]
    return [device for device in found if device is not None]


def _requested(device: ET.Element) -> ET.Element:
    element = device.find("target/requested")
    if element is None:
        sys.exit("The device is no virtio-mem.")
    return element


def main(uri: str, prefix: str, count: int, wanted: str) -> None:
    """Resizes the guests, and prints how long it took."""
    began = time.perf_counter()
    connection = libvirt.open(uri)
    domains = [connection.lookupByName(f"{prefix}{number}") for number in range(1, count + 1)]
    for domain in domains:
        if len(_read(domain, 0, INACTIVE)) != 2:
            sys.exit(f"{domain.name()} has no memory device.")
    for domain in domains:
        for read, write in SCOPES:
            (device,) = _read(domain, read)
            _requested(device).text = wanted
            domain.updateDeviceFlags(ET.tostring(device, encoding="unicode"), write)
    for domain in domains:
        if any(_requested(device).text != wanted for device in _read(domain, 0, INACTIVE)):
            sys.exit(f"{domain.name()} was changed by someone else.")
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
