# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the unit tests build their cases from: devices, definitions, domains.

A change of the core's constructors ends here, not in every test.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Definition, Device, Domain
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, MIB
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.support import Versions
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.xml import writing

UUID = "0b4fd5c6-2a36-4c1e-9d5a-4f6f2e1a7c31"

BOOKWORM = Versions(libvirt=9_000_000, hypervisor=7_002_022)
TRIXIE = Versions(libvirt=11_003_000, hypervisor=10_000_002)


def virtio_mem(**values: t.Any) -> Device:
    """A virtio-mem device of 4 GiB with 1 GiB requested, with these values instead."""
    usual = {
        "model": "virtio-mem",
        "size": 4 * GIB,
        "block": 2 * MIB,
        "requested": GIB,
        "node": 0,
        "alias": "ua-vm0",
    }
    device = Device(**{**usual, **values})
    return replace(device, xml=writing.new_device(written(device)))


def dimm(**values: t.Any) -> Device:
    """A DIMM of 1 GiB, with these values instead."""
    device = Device(**{"model": "dimm", "size": GIB, "node": 0, **values})
    return replace(device, xml=writing.new_device(written(device)))


def written(device: Device) -> dict[str, t.Any]:
    """The values of a device that an element can be made of."""
    observed = ("current", "address")
    values = {name: value for name, value in device.describe().items() if name not in observed}
    return {**values, **({} if device.nodemask is None else {"nodemask": device.nodemask})}


def definition(*devices: Device, **values: t.Any) -> Definition:
    """A definition of 1 GiB and these devices, with room for 16 GiB in all, one NUMA cell, a free port."""
    usual = {
        "total": GIB + sum(device.size for device in devices),
        "max_memory": 16 * GIB,
        "slots": 16,
        "cells": (0,),
        "free_ports": 1,
        "port_room": 240,
    }
    placed = tuple(replace(device, position=position) for position, device in enumerate(devices))
    return Definition(devices=placed, **{**usual, **values})


def domain(live: Definition | None = None, config: Definition | None = None, **values: t.Any) -> Domain:
    """A domain with these scopes: running if it has a live one, persistent if it has a configuration."""
    usual = {
        "name": "web1",
        "uuid": UUID,
        "state": "running" if live else "shutoff",
        "persistent": config is not None,
    }
    return Domain(live=live, config=config, **{**usual, **values})
