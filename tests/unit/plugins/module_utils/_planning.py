# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to a plan, and a domain after it. A change of how plans are made ends here, not in every test."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.virtmem.libvirt.plugins.module_utils._memory import xml
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import (
    LIVE,
    VIRTIO_MEM,
    Declaration,
    Definition,
    Device,
    Domain,
    Host,
    Wish,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.plan import (
    ATTACH,
    DETACH,
    Circumstances,
    Plan,
    Step,
    plan_domain,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.support import Versions
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers

CIRCUMSTANCES = Circumstances(helpers.BOOKWORM)


def planned(
    observed: Domain, *wishes: Wish, versions: Versions = helpers.BOOKWORM, host: Host | None = None, wait: bool = True
) -> Plan:
    """The plan for what is wished of one domain."""
    return plan_domain(observed, Declaration(wishes), Circumstances(versions, host, wait))


def applied(observed: Domain, plan: Plan) -> Domain:
    """The domain as libvirt would leave it after every step, with guests that have given back what they had to."""
    for step in plan.steps:
        was = observed.scope(step.scope)
        if was is not None:
            observed = observed.with_scope(step.scope, _after(was, step))
    return observed


def _after(was: Definition, step: Step) -> Definition:
    """libvirt's own doing, not the core's: found by what the step was planned for, counted anew."""
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
            devices[place] = replace(xml.read_device(step.xml), current=current)
    grown = sum(item.size for item in devices) - sum(item.size for item in was.devices)
    placed = tuple(replace(item, position=position) for position, item in enumerate(devices))
    return replace(was, devices=placed, total=was.total + grown)


def _attached(step: Step, number: int) -> Device:
    device = xml.read_device(step.xml)
    if step.scope != LIVE:
        return device
    # libvirt names a device that has no name, and a new virtio-mem is empty.
    return replace(
        device,
        alias=device.alias or f"{device.model.replace('-', '')}{number + 7}",
        current=0 if device.model == VIRTIO_MEM else None,
    )
