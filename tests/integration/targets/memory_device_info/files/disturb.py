# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Does behind everybody's back what a pass over the domains must find out.

Usage: disturb.py URI
"""

from __future__ import annotations

import re
import sys

import libvirt

LIVE, CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG


def device(domain: libvirt.virDomain, alias: str, flags: int) -> str:
    """The element of a memory device."""
    elements: list[str] = re.findall("<memory model=.*?</memory>", domain.XMLDesc(flags), re.DOTALL)
    return next(element for element in elements if f"'{alias}'" in element)


def request(domain: libvirt.virDomain, mib: int, scope: int) -> None:
    """Requests so much of the device ua-vm0 in one scope."""
    text = device(domain, "ua-vm0", libvirt.VIR_DOMAIN_XML_INACTIVE if scope == CONFIG else 0)
    wanted = f"<requested unit='MiB'>{mib}</requested>"
    domain.updateDeviceFlags(re.sub("<requested.*</requested>", wanted, text), scope)


def main() -> None:
    """A property, a scope, a size, a saved state, and a configuration that can't be started."""
    connection = libvirt.open(sys.argv[1])
    drift, saved, boot = (connection.lookupByName(f"info-{name}") for name in ("drift", "saved", "boot"))
    request(drift, 256, LIVE)
    request(drift, 512, CONFIG)
    drift.detachDeviceFlags(device(drift, "ua-d1", libvirt.VIR_DOMAIN_XML_INACTIVE), CONFIG)
    saved.managedSave()
    request(saved, 512, CONFIG)
    connection.defineXML(re.sub("<acpi/>", "", boot.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)))


main()
