# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What a definition has no room or place for: memory, slots, ports, NUMA cells, ACPI, and what could not boot."""

from __future__ import annotations

import typing as t

from .. import models, support
from ..device import CONFIG, Definition, Device
from ..errors import VirtmemError
from ..size import GIB, align_up, show
from .around import check_address_bits, check_place, check_settings, page_of
from .values import check_block, check_multiple, check_size, first


def _room(definition: Definition, more: int, scope_name: str) -> VirtmemError | None:
    if definition.max_memory is None:
        return VirtmemError(
            "no_max_memory",
            f"The {scope_name} definition of the domain has no maxMemory, so it can't take memory devices.",
            {"scope": scope_name, "needed": more},
            f"Declare max_memory: {show(align_up(definition.total + more, GIB))} or more for the domain in "
            "memory_layout; a running guest has it from its next start on.",
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


def _slots(
    definition: Definition, values: t.Mapping[str, t.Any], versions: support.Versions, scope_name: str
) -> VirtmemError | None:
    counts_all = versions.libvirt < support.SLOTS_ONLY_FOR_DIMMS
    model = models.facts(values["model"])
    if not model.takes_slot and not counts_all:
        return None
    # libvirt 11.3 still refuses a DIMM for a configuration that has as many devices, of any kind, as slots.
    every = counts_all or (scope_name == CONFIG and len(definition.devices) == definition.slots)
    taken = list(definition.devices) if every else support.slot_takers(definition, versions)
    wanted = values.get("slot")
    if wanted is not None and wanted >= definition.slots:
        return _slot_error(wanted, scope_name, f"is not below the domain's {definition.slots} slots", definition)
    if wanted is not None and any(item.slot == wanted for item in definition.devices):
        return _slot_error(wanted, scope_name, "is taken by another device", definition)
    update = f", or update libvirt to {support.show_version(support.SLOTS_ONLY_FOR_DIMMS)}" if counts_all else ""
    return _full(definition, taken, scope_name, update)


def _full(definition: Definition, taken: t.Collection[Device], scope_name: str, otherwise: str) -> VirtmemError | None:
    if len(taken) < definition.slots:
        return None
    return VirtmemError(
        "no_free_slot",
        f"All {definition.slots} memory slots of the {scope_name} definition are taken by {len(taken)} devices"
        f"{'; this libvirt counts every memory device' if otherwise else ''}.",
        {"scope": scope_name, "slots": definition.slots, "devices": len(taken)},
        f"Raise the slots of <maxMemory> (it takes a restart){otherwise}.",
    )


def _slot_error(slot: int, scope_name: str, why: str, definition: Definition) -> VirtmemError:
    used = sorted(item.slot for item in definition.devices if item.slot is not None)
    return VirtmemError(
        "no_free_slot",
        f"slot: {slot} {why} in the {scope_name} definition.",
        {"option": "slot", "value": slot, "scope": scope_name, "slots": definition.slots, "used": used},
        "Leave it out, and libvirt chooses one.",
    )


def _base(definition: Definition, values: t.Mapping[str, t.Any], scope_name: str) -> VirtmemError | None:
    low = values.get("base")
    if low is None:
        return None
    high = low + values["size"]
    for item in definition.devices:
        if item.base is not None and item.base < high and low < item.base + item.size:
            return VirtmemError(
                "invalid_option",
                f"base: {low:#x} to {high:#x} overlaps with {item.alias or item.model}, which is at "
                f"{item.base:#x} to {item.base + item.size:#x} in the {scope_name} definition.",
                {
                    "option": "base",
                    "value": low,
                    "scope": scope_name,
                    "taken_from": item.base,
                    "taken_to": item.base + item.size,
                },
                "Leave it out, and QEMU chooses a place.",
            )
    unit = values.get("block") or definition.platform.size_unit
    return check_multiple("base", low, unit, "which is what the device needs")


def _acpi(definition: Definition, model: str, scope_name: str) -> VirtmemError | None:
    if definition.acpi or not models.facts(model).takes_slot or not definition.platform.acpi:
        return None
    # libvirt refuses ACPI without UEFI where the architecture has it from the firmware.
    lacks_uefi = definition.platform.acpi_by_firmware and not definition.around.has_uefi
    uefi = "UEFI firmware (<os firmware='efi'>) and " if lacks_uefi else ""
    return VirtmemError(
        "no_acpi",
        f"A device of model {model} is plugged through ACPI, and the {scope_name} definition of the domain has none.",
        {"scope": scope_name, "model": model},
        f"Give the domain {uefi}<features><acpi/></features> and restart it, or use model virtio-mem.",
    )


def _hot_plug(definition: Definition, model: str, scope_name: str) -> VirtmemError | None:
    """What a running guest can't be given at all."""
    if scope_name == CONFIG:
        return None
    if not models.facts(model).hot_plug:
        why = "can't be plugged into a running guest."
    elif models.facts(model).plugs_beside_its_like and not any(item.model == model for item in definition.devices):
        why = "can only be plugged into a guest that was started with one."
    else:
        return None
    return VirtmemError(
        "needs_restart",
        f"A device of model {model} {why}",
        {"scope": scope_name, "model": model},
        "Use scope auto or config: the device comes with the next boot.",
    )


def _bootable(model: str, versions: support.Versions, scope_name: str) -> VirtmemError | None:
    """A configuration that libvirt stores but can't start is no help."""
    if scope_name != CONFIG:
        return None
    problem = support.missing(models.facts(model).boot, versions)
    if problem is not None:
        problem.hint = (
            "Use scope live, or update libvirt: this one stores the device, but can't start the domain with it."
        )
    return problem


def _node(
    definition: Definition, model: str, node: int | None, versions: support.Versions, scope_name: str
) -> VirtmemError | None:
    if not models.facts(model).has_option("node"):
        return None
    cells = definition.cells
    if not cells and definition.platform.cells and versions.libvirt >= support.ADDS_NUMA_CELL:
        cells = (0,)
    # An EPC section may go without a node, and so may all devices of some platforms while there is no cell.
    needs_none = not models.facts(model).wants_node or (not cells and not definition.platform.needs_cell)
    if node in cells or (node is None and needs_none):
        return None
    listed = ", ".join(str(cell) for cell in cells)
    if node is None and len(cells) > 1:
        return VirtmemError(
            "missing_option",
            f"node: the domain has the NUMA cells {listed}, so a new device must say which it belongs to.",
            {"option": "node", "scope": scope_name, "cells": list(cells)},
            "Set node.",
        )
    has = f"has the NUMA cells {listed}" if cells else "has no NUMA cell"
    return VirtmemError(
        "no_numa_node",
        f"node: {0 if node is None else node} does not exist, the {scope_name} definition of the domain {has}.",
        {"option": "node", "value": node, "scope": scope_name, "cells": list(cells)},
        f"Choose one of {listed}." if cells else "Give the domain a <numa> cell that holds its memory, and restart it.",
    )


_PORTS = {False: "hot-plug port (pcie-root-port)", True: "PCI slot"}


def _port(definition: Definition, model: str, scope_name: str) -> VirtmemError | None:
    # libvirt adds ports to a persistent definition by itself, but a running guest has those it was started with.
    if scope_name == CONFIG or not models.facts(model).takes_port:
        return None
    if definition.free_ports is None or definition.free_ports > 0:
        return None
    return VirtmemError(
        "needs_restart",
        f"The running guest has no free {_PORTS[definition.port_room is None]} for the device.",
        {"scope": scope_name, "free_ports": 0},
        "Restart the domain; libvirt gives its configuration what the device needs.",
    )


def check_attach(
    definition: Definition, values: t.Mapping[str, t.Any], versions: support.Versions, scope_name: str
) -> VirtmemError | None:
    """Why this new device can't be attached in this scope, or None.

    Args:
        definition: the scope's definition.
        values: the properties of the new device.
        versions: what answers.
        scope_name: live or config.
    """
    model = values["model"]
    return first(
        [
            support.lacking_on(model, definition, versions),
            _bootable(model, versions, scope_name),
            check_settings(definition, model, scope_name),
            # What no restart removes comes before what only a restart does.
            _room(definition, values["size"], scope_name),
            _node(definition, model, values.get("node"), versions, scope_name),
            _acpi(definition, model, scope_name),
            _slots(definition, values, versions, scope_name),
            _base(definition, values, scope_name),
            check_place(definition, values, scope_name),
            _hot_plug(definition, model, scope_name),
            _port(definition, model, scope_name),
        ]
    )


def check_stored(definition: Definition, device: Device, versions: support.Versions) -> VirtmemError | None:
    """Why a device of a persistent definition would keep the domain from its next boot, or None."""
    values = device.describe()
    rest = definition.without(device)
    page = page_of(rest, values)
    others, takes = support.slot_takers(rest, versions), support.takes_slot(device.model, versions)
    return first(
        [
            support.lacking_on(device.model, definition, versions),
            _bootable(device.model, versions, CONFIG),
            check_settings(rest, device.model, CONFIG),
            _room(rest, device.size, CONFIG),
            _node(rest, device.model, device.node, versions, CONFIG),
            _acpi(rest, device.model, CONFIG),
            _full(rest, others, CONFIG, "") if takes else None,
            _base(rest, values, CONFIG),
            check_place(rest, values, CONFIG),
            check_address_bits(rest, rest.max_memory, rest.slots),
            check_block(device.block, definition.platform, page) if device.block and page else None,
            check_size(device.size, device.block, definition.platform, page) if device.block or page else None,
        ]
    )


def check_growth(definition: Definition, before: Device, after_size: int) -> VirtmemError | None:
    """A device that grows in the persistent definition must fit under maxMemory too."""
    more = after_size - before.size
    return _room(definition, more, CONFIG) if more > 0 else None


def check_cell(
    definition: Definition, model: str, node: int, versions: support.Versions, scope_name: str
) -> VirtmemError | None:
    """A device that moves to another NUMA cell must find it."""
    return _node(definition, model, node, versions, scope_name)
