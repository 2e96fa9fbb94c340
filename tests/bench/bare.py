# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bare loop: connects, lists, and reads the XML of every domain in both scopes; decodes nothing. Takes the URI."""

from __future__ import annotations

import sys
import typing as t

import libvirt


def loop(connection: t.Any) -> int:
    """Reads everything; the number of characters."""
    return sum(
        len(domain.XMLDesc(0)) + len(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        for domain in connection.listAllDomains()
    )


if __name__ == "__main__":
    print(loop(libvirt.openReadOnly(sys.argv[1])))
