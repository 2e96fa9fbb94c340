# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What cannot be done, and why: each rule gives an error with its numbers, or None.

libvirt's and QEMU's own refusals often come late (at the next boot) or with one code for everything, so what
can be known before the first change is checked here.
"""

from __future__ import annotations

import typing as t

from . import support
from .device import CONFIG, LIVE, VIRTIO_MEM, Definition, Device, Domain, Wish
from .errors import VirtmemError
from .size import align_down, align_up, is_power_of_two, show

# The options a new device of each model can't do without; a new model is a row here and one in support.NEEDS.
REQUIRED: t.Mapping[str, tuple[str, ...]] = {
    VIRTIO_MEM: ("size", "requested"),
}


def _first(problems: t.Iterable[VirtmemError | None]) -> VirtmemError | None:
    return next((problem for problem in problems if problem is not None), None)


def _multiple(option: str, value: int, unit: int, why: str) -> VirtmemError | None:
    if value % unit == 0:
        return None
    low, high = align_down(value, unit), align_up(value, unit)
    return VirtmemError(
        "not_aligned",
        f"{option}: {show(value)} is not a multiple of {show(unit)}, {why}.",
        {"option": option, "value": value, "unit": unit, "below": low, "above": high},
        f"The nearest are {show(low)} and {show(high)}." if low else f"The smallest is {show(high)}.",
    )


def block(value: int, arch: str = "x86_64") -> VirtmemError | None:
    """A virtio-mem block is a power of two and no smaller than the host's huge page."""
    least = support.smallest_block(arch)
    if is_power_of_two(value) and value >= least:
        return None
    why = f"is smaller than {show(least)}" if value < least else "is not a power of two"
    return VirtmemError(
        "invalid_block",
        f"block: {show(value)} {why}.",
        {"option": "block", "value": value, "smallest": least},
        f"Leave it out, or give a power of two from {show(least)} on.",
    )


def requested(value: int, size: int, block_size: int) -> VirtmemError | None:
    """What is requested of a virtio-mem device is a whole number of its blocks, and no more than its size."""
    if value > size:
        return VirtmemError(
            "requested_exceeds_size",
            f"requested: {show(value)} is more than the size of the device, {show(size)}.",
            {"option": "requested", "requested": value, "size": size},
            f"Request at most {show(size)}, or declare a larger size (it takes a restart to become real).",
        )
    return _multiple("requested", value, block_size, "the block of the device")


def size(value: int, block_size: int | None, arch: str) -> VirtmemError | None:
    """QEMU takes no other sizes; libvirt lets them pass until the next boot."""
    unit = max(support.size_unit(arch), block_size or 0)
    if value == 0:
        return VirtmemError(
            "invalid_option",
            "size: 0 is no size for a device.",
            {"option": "size", "value": 0},
            f"Give a multiple of {show(unit)}.",
        )
    return _multiple("size", value, unit, "which is what QEMU can plug")


def wish(wished: Wish) -> VirtmemError | None:
    """What can be said of a declaration alone, before any connection is made."""
    problems = []
    if wished.block is not None and not is_power_of_two(wished.block):
        problems.append(block(wished.block))
    if wished.size is not None and wished.requested is not None:
        problems.append(requested(wished.requested, wished.size, wished.block or 1))
    return _first(problems)


def scope(domain: Domain, asked: str) -> VirtmemError | None:
    """An explicit scope must exist."""
    missing = None
    if asked in (LIVE, "both") and domain.live is None:
        missing = (LIVE, "is not running", "Start it, or use scope config or auto.")
    elif asked in (CONFIG, "both") and domain.config is None:
        missing = (CONFIG, "is transient", "Use scope live or auto; what is transient is gone when it stops.")
    if missing is None:
        return None
    name, state, hint = missing
    return VirtmemError(
        "scope_unavailable",
        f"scope: {asked} needs the {name} definition, but domain {domain.name} {state}.",
        {"option": "scope", "value": asked, "state": domain.state, "persistent": domain.persistent},
        hint,
    )


def _room(definition: Definition, more: int, scope_name: str) -> VirtmemError | None:
    if definition.max_memory is None:
        return VirtmemError(
            "no_max_memory",
            f"The {scope_name} definition of the domain has no maxMemory, so it can't take memory devices.",
            {"scope": scope_name, "needed": more},
            "Give the domain a <maxMemory slots='...'> of at least its memory plus the size of all its devices, "
            "and restart it.",
        )
    free = definition.max_memory - definition.total
    if more <= free:
        return None
    return VirtmemError(
        "insufficient_headroom",
        f"size: {show(more)} more do not fit: the {scope_name} definition has maxMemory {show(definition.max_memory)} "
        f"and uses {show(definition.total)}, so {show(max(free, 0))} are free.",
        {
            "option": "size",
            "scope": scope_name,
            "needed": more,
            "headroom": max(free, 0),
            "max_memory": definition.max_memory,
            "total": definition.total,
        },
        "Declare a smaller size, or raise the domain's maxMemory (it takes a restart). "
        "A virtio-mem device counts with its whole size, whatever is requested.",
    )


def _slots(definition: Definition, versions: support.Versions, scope_name: str) -> VirtmemError | None:
    # Only DIMMs need a slot since libvirt 9.5.0; before, virtio-mem was counted like them.
    if versions.libvirt >= support.SLOTS_ONLY_FOR_DIMMS or len(definition.devices) < definition.slots:
        return None
    return VirtmemError(
        "no_free_slot",
        f"All {definition.slots} memory slots of the {scope_name} definition are taken by "
        f"{len(definition.devices)} devices; this libvirt counts every memory device.",
        {"scope": scope_name, "slots": definition.slots, "devices": len(definition.devices)},
        "Raise the slots of <maxMemory> (it takes a restart), or update libvirt to "
        f"{support.show_version(support.SLOTS_ONLY_FOR_DIMMS)}.",
    )


def _node(
    definition: Definition, node: int | None, versions: support.Versions, scope_name: str
) -> VirtmemError | None:
    cells = definition.cells
    if not cells and versions.libvirt >= support.ADDS_NUMA_CELL:
        cells = (0,)
    if node in cells:
        return None
    listed = ", ".join(str(cell) for cell in cells)
    if node is None and len(cells) > 1:
        return VirtmemError(
            "missing_option",
            f"node: the domain has the NUMA cells {listed}, so a new device must say which it belongs to.",
            {"option": "node", "scope": scope_name, "cells": list(cells)},
            "Give node.",
        )
    has = f"has the NUMA cells {listed}" if cells else "has no NUMA cell"
    return VirtmemError(
        "no_numa_node",
        f"node: {0 if node is None else node} does not exist, the {scope_name} definition of the domain {has}.",
        {"option": "node", "value": node, "scope": scope_name, "cells": list(cells)},
        f"Choose one of {listed}." if cells else "Give the domain a <numa> cell that holds its memory, and restart it.",
    )


def _port(definition: Definition, scope_name: str) -> VirtmemError | None:
    # libvirt adds ports to a persistent definition by itself, but a running guest has those it was started with.
    if scope_name == CONFIG or definition.free_ports is None or definition.free_ports > 0:
        return None
    return VirtmemError(
        "needs_restart",
        "The running guest has no free hot-plug port (pcie-root-port) for the device.",
        {"scope": scope_name, "free_ports": 0},
        "Restart the domain; the persistent definition gets the port that the device needs.",
    )


def attach(
    definition: Definition, values: t.Mapping[str, t.Any], versions: support.Versions, scope_name: str
) -> VirtmemError | None:
    """Why this new device can't be attached in this scope, or None.

    Args:
        definition: the scope's definition.
        values: the properties of the new device.
        versions: what answers.
        scope_name: live or config.
    """
    return _first(
        [
            _room(definition, values["size"], scope_name),
            _node(definition, values.get("node"), versions, scope_name),
            _slots(definition, versions, scope_name),
            _port(definition, scope_name),
        ]
    )


def complete(values: t.Mapping[str, t.Any], wished: Wish) -> VirtmemError | None:
    """A device that does not exist yet needs a model and what that model can't do without."""
    needed = ("model", *REQUIRED.get(values.get("model", VIRTIO_MEM), ("size",)))
    missing = [name for name in needed if values.get(name) is None]
    if not missing:
        return None
    lacking = " and ".join([", ".join(missing[:-1]), missing[-1]] if missing[1:] else missing)
    return VirtmemError(
        "missing_option",
        f"The domain has no memory device with {wished.describe()}, and to attach a new one "
        f"{lacking} must be given.",
        {"missing": missing},
        f"Give {lacking}; if the device should exist already, check its alias with "
        "virsh dumpxml.",
    )


def device(values: t.Mapping[str, t.Any], changed: t.Container[str], arch: str) -> VirtmemError | None:
    """Why a device can't have these properties, or None. Only what changes is judged, the rest is libvirt's.

    Args:
        values: the properties that the device would have.
        changed: the names of those that are new.
        arch: the guest's architecture.
    """
    problems: list[VirtmemError | None] = []
    if "block" in changed:
        problems.append(block(values["block"], arch))
    if "size" in changed or "block" in changed:
        problems.append(size(values["size"], values.get("block"), arch))
    if values.get("requested") is not None and any(name in changed for name in ("requested", "size", "block")):
        problems.append(requested(values["requested"], values["size"], values.get("block") or 1))
    return _first(problems)


def resize_config(definition: Definition, before: Device, after_size: int) -> VirtmemError | None:
    """A device that grows in the persistent definition must fit under maxMemory too."""
    more = after_size - before.size
    return _room(definition, more, CONFIG) if more > 0 else None


def cell(definition: Definition, node: int, versions: support.Versions, scope_name: str) -> VirtmemError | None:
    """A device that moves to another NUMA cell must find it."""
    return _node(definition, node, versions, scope_name)
