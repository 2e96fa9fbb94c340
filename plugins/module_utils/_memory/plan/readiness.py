# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What a domain lacks to take memory devices at all: room, slots, a NUMA cell, hot-plug ports, ACPI.

All of it can only change in the persistent definition, and counts from the next boot on.
"""

from __future__ import annotations

from .. import models, support
from ..device import ABSENT, Declaration, Definition, Domain, Readiness
from ..errors import VirtmemError
from ..rules.around import check_address_bits
from ..size import MIB, align_down, align_up, show
from ..xml import writing
from .step import PREPARE, SHRINK, Step

# libvirt before 9.5 demands slots together with maxMemory; if nobody says how many, it gets these.
DEFAULT_SLOTS = 16


def check(declaration: Declaration, domain: Domain, versions: support.Versions) -> VirtmemError | None:
    """What speaks against the declared readiness, or None."""
    if not declaration.readies:
        return _check_balloon(declaration, domain)
    if domain.config is None:
        return VirtmemError(
            "scope_unavailable",
            f"max_memory, slots and spare_ports change the configuration, but domain {domain.name} is transient.",
            {"state": domain.state, "persistent": False},
            "Leave them out; a transient domain has what it was started with.",
        )
    limit = declaration.max_memory
    if limit is not None and domain.config.max_memory is None:
        # Without devices it would be of no use, and s390x guests can't even be started with it before libvirt 11.1.
        problem = support.lacking_any(domain.config, versions)
        if problem is not None:
            return problem
    if limit is not None and limit % MIB:
        low, high = align_down(limit, MIB), align_up(limit, MIB)
        return VirtmemError(
            "not_aligned",
            f"max_memory: {show(limit)} is not a multiple of 1MiB.",
            {"option": "max_memory", "value": limit, "unit": MIB, "below": low, "above": high},
            f"The nearest are {show(low)} and {show(high)}.",
        )
    slots = domain.config.slots if declaration.slots is None else declaration.slots
    problem = check_address_bits(domain.config, limit, slots)
    if problem is not None:
        return problem
    if limit is None and declaration.slots is not None and domain.config.max_memory is None:
        return VirtmemError(
            "missing_option",
            f"slots: domain {domain.name} has no maxMemory, so there is nothing for the slots to belong to.",
            {"option": "slots", "missing": ["max_memory"]},
            "Set max_memory too.",
        )
    if declaration.spare_ports and domain.config.port_room is None:
        return VirtmemError(
            "invalid_option",
            f"spare_ports: domain {domain.name} is not a PCI Express machine (q35), and has no such ports.",
            {"option": "spare_ports", "value": declaration.spare_ports},
            "Leave spare_ports out.",
        )
    return _check_balloon(declaration, domain)


def too_few_slots(declaration: Declaration, after: Definition, versions: support.Versions) -> VirtmemError | None:
    """libvirt would refuse fewer slots than there are devices in them, when half of the work is done.

    Args:
        declaration: what is wanted.
        after: the definition as it will be with the declared devices.
        versions: what answers.
    """
    if declaration.slots is None:
        return None
    takers = support.slot_takers(after, versions)
    highest = max((device.slot for device in takers if device.slot is not None), default=-1)
    needed = max(len(takers), highest + 1, 1 if versions.libvirt < support.SLOTS_ONLY_FOR_DIMMS else 0)
    if declaration.slots >= needed:
        return None
    return VirtmemError(
        "no_free_slot",
        f"slots: {declaration.slots} are too few, the devices of the configuration need {needed}.",
        {"option": "slots", "value": declaration.slots, "needed": needed, "devices": len(takers)},
        f"Give {needed} or more, or leave slots out.",
    )


def too_many_ports(declaration: Declaration, found: Readiness, before: Definition) -> VirtmemError | None:
    """A PCI Express root has room for a certain number of ports, beside what else is on it.

    Args:
        declaration: what is wanted.
        found: what the definition is to be given.
        before: the definition as it is.
    """
    if not found.ports or before.port_room is None or found.ports <= before.port_room:
        return None
    most = max((declaration.spare_ports or 0) - found.ports + before.port_room, 0)
    return VirtmemError(
        "invalid_option",
        f"spare_ports: {declaration.spare_ports} take {found.ports} more ports, and the PCI Express root of the domain "
        f"has room for {before.port_room} more.",
        {"option": "spare_ports", "value": declaration.spare_ports, "needed": found.ports, "room": before.port_room},
        f"Declare spare_ports: {most} or fewer.",
    )


def provisional(declaration: Declaration, definition: Definition, versions: support.Versions) -> Definition:
    """The definition as devices may be planned for it: with all the room that it has or is to get."""
    return _lacking(declaration, definition, versions, room=True).applied(definition)


def lacking(declaration: Declaration, before: Definition, after: Definition, versions: support.Versions) -> Readiness:
    """What the definition lacks.

    Args:
        declaration: what is wanted.
        before: the definition as it is.
        after: as it will be with the declared devices: they need room, and take ports.
        versions: what answers.
    """
    found = _lacking(declaration, before, versions, room=False)
    if declaration.max_memory is not None:
        # A target that never goes below what the devices need, in whole MiB as libvirt has it in a running guest.
        wanted = max(declaration.max_memory, align_up(after.total, MIB))
        found = found._replace(max_memory=None if wanted == before.max_memory else wanted)
    if declaration.spare_ports and before.port_room is not None and before.free_ports is not None:
        # The domain is made ready first, so the devices that come after take their ports from these.
        found = found._replace(
            ports=max(declaration.spare_ports + _taken(after) - _taken(before) - before.free_ports, 0)
        )
    return found


def result(found: Readiness, before: Definition, after: Definition) -> Definition:
    """The definition as it will be in the end: `after`, with what was lacking."""
    ready = found.applied(after._replace(max_memory=before.max_memory))
    if before.free_ports is None:
        return ready
    return ready._replace(free_ports=max(before.free_ports + found.ports + _taken(before) - _taken(after), 0))


def _taken(definition: Definition) -> int:
    return sum(models.facts(device.model).takes_port for device in definition.devices)


def _lacking(declaration: Declaration, definition: Definition, versions: support.Versions, room: bool) -> Readiness:
    if not declaration.readies:
        return Readiness()
    limit = declaration.max_memory
    if room and limit is not None:
        limit = max(limit, definition.max_memory or 0)
    slots = declaration.slots
    if slots is None and limit and not definition.slots and versions.libvirt < support.SLOTS_ONLY_FOR_DIMMS:
        slots = DEFAULT_SLOTS
    platform = definition.platform
    # libvirt 9.6 and later would add it by themselves, without a word.
    must_have_cell = platform.needs_cell or versions.libvirt >= support.ADDS_NUMA_CELL
    wants_cell = limit is not None and not definition.cells and platform.cells and must_have_cell
    can_have_acpi = platform.acpi and (definition.around.has_uefi or not platform.acpi_by_firmware)
    plugs_dimms = any(wish.state != ABSENT and models.facts(wish.model or "").takes_slot for wish in declaration.wishes)
    return Readiness(
        max_memory=None if limit == definition.max_memory else limit,
        slots=None if slots == definition.slots else slots,
        cell_memory=definition.base if wants_cell else None,
        cell_processors=definition.processors if wants_cell else 0,
        acpi=plugs_dimms and can_have_acpi and not definition.acpi,
    )


def reasons(declaration: Declaration, domain: Domain, config: Definition) -> tuple[str, ...]:
    """What the running guest does not have of it yet.

    Args:
        declaration: what is wanted.
        domain: the domain as it will be.
        config: its configuration as it will be.
    """
    live = domain.live
    if live is None or not declaration.readies:
        return ()
    told = []
    if declaration.max_memory is not None and live.max_memory != config.max_memory:
        has = "none" if live.max_memory is None else show(live.max_memory)
        told.append(
            f"maxMemory is {has} in the running guest and can only become {show(config.max_memory or 0)} by a restart."
        )
    if declaration.slots is not None and live.slots != config.slots:
        told.append(f"The running guest has {live.slots} memory slots and can only get {config.slots} by a restart.")
    if declaration.spare_ports and (live.free_ports or 0) < declaration.spare_ports:
        told.append(
            f"The running guest has {live.free_ports or 0} free hot-plug ports and can only get "
            f"{declaration.spare_ports} by a restart."
        )
    return tuple(told)


def period_steps(declaration: Declaration, domain: Domain) -> list[Step]:
    """The steps that set how often the balloon's statistics are polled: at once, in both scopes."""
    wanted = declaration.statistics_period
    steps = []
    for scope in domain.scopes() if wanted is not None else ():
        definition = domain.scope(scope)
        if definition is not None and definition.period != wanted:
            ready = Readiness(period=wanted)
            steps.append(Step(PREPARE, scope, writing.readiness(ready), rank=SHRINK, ready=ready))
    return steps


def _check_balloon(declaration: Declaration, domain: Domain) -> VirtmemError | None:
    """Only a balloon can be polled."""
    if declaration.statistics_period is None:
        return None
    scopes = ((scope, domain.scope(scope)) for scope in domain.scopes())
    lacks = [scope for scope, definition in scopes if definition is not None and not definition.balloon]
    if not lacks:
        return None
    return VirtmemError(
        "invalid_option",
        f"statistics_period: {declaration.statistics_period}, but the {lacks[0]} definition of domain {domain.name} "
        "has no balloon whose statistics could be polled.",
        {"option": "statistics_period", "value": declaration.statistics_period, "scope": lacks[0]},
        "Leave it out, or give the domain <memballoon model='virtio'/> and restart it.",
    )


def warnings(domain: Domain) -> tuple[str, ...]:
    """What to know of a domain that is made ready: a saved state comes back as the domain that it was."""
    if domain.saved is None:
        return ()
    return (
        f"Domain {domain.name} has a managed-save image: its next start brings back the domain as it was saved; "
        "max_memory, slots and spare_ports count from the start after that.",
    )


def changed_meanwhile(step_before: Definition, now: Definition) -> bool:
    """Whether someone else changed what readiness is about."""

    def about(definition: Definition) -> tuple[object, ...]:
        return (definition.max_memory, definition.slots, definition.cells, definition.acpi)

    return about(step_before) != about(now)
