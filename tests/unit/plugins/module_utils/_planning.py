# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to a plan, and a domain after it. A change of how plans are made ends here, not in every test."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import (
    LIVE,
    Declaration,
    Definition,
    Device,
    Domain,
    Host,
    Wish,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.models import VIRTIO_MEM, VIRTIO_PMEM
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan.domain import plan_domain
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan.step import (
    ATTACH,
    DETACH,
    Circumstances,
    Plan,
    Step,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import KIB
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.support import Versions
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.xml import reading
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers

CIRCUMSTANCES = Circumstances(helpers.BOOKWORM)


def planned(
    observed: Domain, *wishes: Wish, versions: Versions = helpers.BOOKWORM, host: Host | None = None, wait: bool = True
) -> Plan:
    """The plan for what is wished of one domain."""
    return declared(observed, Declaration(wishes), versions, host=host, wait=wait)


def declared(
    observed: Domain,
    declaration: Declaration,
    versions: Versions = helpers.BOOKWORM,
    *,
    host: Host | None = None,
    wait: bool = True,
) -> Plan:
    """The plan for all that is declared of one domain."""
    return plan_domain(observed, declaration, Circumstances(versions, host, wait))


def applied(observed: Domain, plan: Plan) -> Domain:
    """The domain as libvirt would leave it after every step, with guests that have given back what they had to."""
    for step in plan.steps:
        observed = taken(observed, step)
    return observed


def taken(observed: Domain, step: Step) -> Domain:
    """The domain as libvirt would leave it after one step."""
    was = observed.scope(step.scope)
    return observed if was is None else observed.with_scope(step.scope, _after(was, step))


def _made_ready(was: Definition, step: Step) -> Definition:
    """What the skeleton of a domain that the step shows adds to a definition."""
    shown = ET.fromstring(step.xml)
    limit, cell = shown.find("maxMemory"), shown.find("cpu/numa/cell")
    if limit is not None:
        if limit.text and limit.text.strip():
            was = was._replace(max_memory=int(limit.text) * KIB)
        was = was._replace(slots=int(limit.get("slots", was.slots)))
    if cell is not None:
        was = was._replace(cells=(int(cell.get("id", "-1")),), cell_sizes=(int(cell.get("memory", "-1")) * KIB,))
    ports = len(shown.findall("devices/controller"))
    return was._replace(
        acpi=was.acpi or shown.find("features/acpi") is not None,
        free_ports=was.free_ports + ports if was.free_ports is not None else None,
    )


def _after(was: Definition, step: Step) -> Definition:
    """libvirt's own doing, not the core's: found by what the step was planned for, counted anew."""
    if step.ready is not None:
        return _made_ready(was, step)
    devices = list(was.devices)
    if step.op == ATTACH:
        devices.append(_attached(step, len(devices)))
    else:
        found = next(item for item in devices if step.before is not None and item.settled() == step.before.settled())
        place = devices.index(found)
        if step.op == DETACH:
            del devices[place]
        else:
            current = 0 if step.until is not None else found.current
            devices[place] = replace(reading.read_device(step.xml), current=current)
    grown = sum(item.size for item in devices) - sum(item.size for item in was.devices)
    placed = tuple(replace(item, position=position) for position, item in enumerate(devices))
    ports = was.free_ports
    if ports is not None:
        # A configuration that has none left is given one by libvirt.
        ports = max(ports + _on_ports(was.devices) - _on_ports(placed), 0)
    return was._replace(devices=placed, total=was.total + grown, free_ports=ports)


def _on_ports(devices: tuple[Device, ...]) -> int:
    return len([device for device in devices if device.model in (VIRTIO_MEM, VIRTIO_PMEM)])


def _attached(step: Step, number: int) -> Device:
    device = reading.read_device(step.xml)
    if step.scope != LIVE:
        return device
    # libvirt names a device that has no name, and a new virtio-mem is empty.
    return replace(
        device,
        alias=device.alias or f"{device.model.replace('-', '')}{number + 7}",
        current=0 if device.model == VIRTIO_MEM else None,
    )
