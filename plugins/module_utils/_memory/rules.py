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

from . import models, support
from .device import ABSENT, CONFIG, LIVE, Definition, Device, Domain, Host, Wish, format_nodeset
from .errors import VirtmemError
from .properties import option_name
from .size import KIB, align_down, align_up, is_power_of_two, show

SMALLEST_LABEL = 128 * KIB


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


def label(value: int, size_of_device: int) -> VirtmemError | None:
    """The label area of an nvdimm lies inside it (virDomainMemoryDefValidate)."""
    if SMALLEST_LABEL <= value < size_of_device:
        return None
    return VirtmemError(
        "invalid_option",
        f"label_size: {show(value)} is not between {show(SMALLEST_LABEL)} and the size of the device, "
        f"{show(size_of_device)}.",
        {"option": "label_size", "value": value, "smallest": SMALLEST_LABEL, "size": size_of_device},
        f"Give at least {show(SMALLEST_LABEL)} and less than the size.",
    )


def options(model: str, names: t.Iterable[str]) -> VirtmemError | None:
    """libvirt ignores an option of another model without a word, and it could never be delivered."""
    wrong = [name for name in names if not models.facts(model).has_option(name)]
    if not wrong:
        return None
    name = wrong[0]
    having = [other for other, row in models.MODELS.items() if row.has_option(name)]
    return VirtmemError(
        "invalid_option",
        f"{option_name(name)}: means nothing for a device of model {model}, only for {', '.join(having)}.",
        {"option": option_name(name), "model": model, "models": having},
        "Leave it out, or choose another model.",
    )


def uuid(value: str, arch: str) -> VirtmemError | None:
    """Only pSeries guests know the UUID of an nvdimm; elsewhere libvirt refuses the whole device (code 67)."""
    if arch.startswith("ppc64"):
        return None
    return VirtmemError(
        "invalid_option",
        f"uuid: an nvdimm of a {arch} guest can't have one, only one of a pSeries guest.",
        {"option": "uuid", "value": value, "arch": arch},
        "Leave it out.",
    )


def choices(model: str, values: t.Mapping[str, t.Any]) -> VirtmemError | None:
    """Values that libvirt refuses for this model."""
    access, possible = values.get("access"), models.facts(model).access
    if access is None or access in possible:
        return None
    listed = ", ".join(sorted(possible))
    return VirtmemError(
        "invalid_option",
        f"access: {access} is not possible for a device of model {model}, only {listed}.",
        {"option": "access", "value": access, "model": model},
        "Leave it out; libvirt chooses what is possible.",
    )


def wish(wished: Wish) -> VirtmemError | None:
    """What can be said of a declaration alone, before any connection is made."""
    problems = []
    if wished.model is not None:
        problems.append(options(wished.model, wished.given()))
        problems.append(choices(wished.model, wished.given()))
    if wished.block is not None and not is_power_of_two(wished.block):
        problems.append(block(wished.block))
    if wished.size is not None and wished.requested is not None:
        problems.append(requested(wished.requested, wished.size, wished.block or 1))
    if wished.path is not None and not wished.path.startswith("/"):
        problems.append(
            _unusable("source.path", wished.path, "is not an absolute path", "Give the whole path, beginning with /.")
        )
    if wished.state == ABSENT and wished.replace:
        problems.append(_unusable("replace", True, "contradicts state absent", "Leave out one of them."))
    return _first(problems)


def _unusable(option: str, value: object, why: str, hint: str) -> VirtmemError:
    return VirtmemError("invalid_option", f"{option}: {value!r} {why}.", {"option": option, "value": value}, hint)


def host(values: t.Mapping[str, t.Any], here: Host, scope_name: str) -> VirtmemError | None:
    """The host must have the nodes and the pages that a device asks for.

    What only a configuration asks for may be filled up before the next boot, so there the kind of page is enough.
    """
    if models.facts(values["model"]).host_feature and here.sgx is False:
        return VirtmemError(
            "unsupported",
            "This host can't give guests SGX memory: its processor, kernel or QEMU has none.",
            {"feature": values["model"]},
            "Use a host with SGX enabled (virsh domcapabilities shows it under features).",
        )
    nodes: t.Sequence[int] = values.get("nodemask") or sorted(here.pages)
    unknown = [node for node in nodes if node not in here.pages]
    if unknown:
        return VirtmemError(
            "no_host_node",
            f"source.nodemask: the host has no NUMA node {format_nodeset(unknown)}, only "
            f"{format_nodeset(sorted(here.pages))}.",
            {"option": "source.nodemask", "value": format_nodeset(nodes), "host_nodes": sorted(here.pages)},
            "Choose among the host's nodes (virsh capabilities lists them).",
        )
    page = values.get("pagesize")
    if page is None or page == here.smallest_page:
        return None
    if page not in here.page_sizes:
        sizes = sorted(here.page_sizes)
        return VirtmemError(
            "no_host_pages",
            f"source.pagesize: the host has no pages of {show(page)}, only of {', '.join(map(show, sizes))}.",
            {"option": "source.pagesize", "value": page, "host_page_sizes": sizes},
            "Choose one of them.",
        )
    pool = sum(here.pages[node].get(page, 0) for node in nodes) * page
    asked: int = values["requested"] if values.get("requested") is not None else values["size"]
    if scope_name == CONFIG or pool >= asked:
        return None
    return VirtmemError(
        "no_host_pages",
        f"source.pagesize: the pool of {show(page)} pages on the host's nodes {format_nodeset(nodes)} has "
        f"{show(pool)}, "
        f"and {show(asked)} are asked for.",
        {"option": "source.pagesize", "value": page, "pool": pool, "needed": asked},
        "Enlarge the host's pool (vm.nr_hugepages), or ask for less.",
    )


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
    unit = values.get("block") or support.size_unit(definition.arch)
    return _multiple("base", low, unit, "which is what the device needs")


def _acpi(definition: Definition, model: str, scope_name: str) -> VirtmemError | None:
    if definition.acpi or not models.facts(model).takes_slot:
        return None
    return VirtmemError(
        "no_acpi",
        f"A device of model {model} is plugged through ACPI, and the {scope_name} definition of the domain has none.",
        {"scope": scope_name, "model": model},
        "Give the domain <features><acpi/></features> and restart it, or use model virtio-mem.",
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
    if not cells and versions.libvirt >= support.ADDS_NUMA_CELL:
        cells = (0,)
    # An EPC section may go without a node; on s390x there is no NUMA at all.
    if node in cells or (node is None and (not models.facts(model).wants_node or definition.arch == "s390x")):
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


def _port(definition: Definition, model: str, scope_name: str) -> VirtmemError | None:
    # libvirt adds ports to a persistent definition by itself, but a running guest has those it was started with.
    if scope_name == CONFIG or not models.facts(model).takes_port:
        return None
    if definition.free_ports is None or definition.free_ports > 0:
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
    model = values["model"]
    return _first(
        [
            _bootable(model, versions, scope_name),
            _hot_plug(definition, model, scope_name),
            _room(definition, values["size"], scope_name),
            _node(definition, model, values.get("node"), versions, scope_name),
            _acpi(definition, model, scope_name),
            _slots(definition, values, versions, scope_name),
            _base(definition, values, scope_name),
            _port(definition, model, scope_name),
        ]
    )


def stored(definition: Definition, device: Device, versions: support.Versions) -> VirtmemError | None:
    """Why a device of a persistent definition would keep the domain from its next boot, or None."""
    values = device.describe()
    rest = definition.without(device)
    others, takes = support.slot_takers(rest, versions), support.takes_slot(device.model, versions)
    return _first(
        [
            _bootable(device.model, versions, CONFIG),
            _room(rest, device.size, CONFIG),
            _node(rest, device.model, device.node, versions, CONFIG),
            _acpi(rest, device.model, CONFIG),
            _full(rest, others, CONFIG, "") if takes else None,
            _base(rest, values, CONFIG),
            size(device.size, device.block, definition.arch) if device.block else None,
        ]
    )


def complete(values: t.Mapping[str, t.Any], wished: Wish) -> VirtmemError | None:
    """A device that does not exist yet needs a model and what that model can't do without."""
    model = values.get("model")
    needed = ("model", *(models.facts(model).required if model else ("size",)))
    missing = [option_name(name) for name in needed if values.get(name) is None]
    if not missing:
        return None
    lacking = " and ".join([", ".join(missing[:-1]), missing[-1]] if missing[1:] else missing)
    return VirtmemError(
        "missing_option",
        f"The domain has no memory device with {wished.describe()}, and to attach a new one {lacking} must be given.",
        {"missing": missing},
        f"Give {lacking}; if the device should exist already, check its alias with virsh dumpxml.",
    )


def device(values: t.Mapping[str, t.Any], changed: t.Container[str], arch: str) -> VirtmemError | None:
    """Why a device can't have these properties, or None. Only what changes is judged, the rest is libvirt's.

    Args:
        values: the properties that the device would have.
        changed: the names of those that are new.
        arch: the guest's architecture.
    """
    problems = [choices(values["model"], values)]
    if values.get("uuid") is not None and "uuid" in changed:
        problems.append(uuid(values["uuid"], arch))
    if "block" in changed:
        problems.append(block(values["block"], arch))
    if "size" in changed or "block" in changed:
        problems.append(size(values["size"], values.get("block"), arch))
    if values.get("label_size") is not None and ("label_size" in changed or "size" in changed):
        problems.append(label(values["label_size"], values["size"]))
    if values.get("requested") is not None and any(name in changed for name in ("requested", "size", "block")):
        problems.append(requested(values["requested"], values["size"], values.get("block") or 1))
    return _first(problems)


def resize_config(definition: Definition, before: Device, after_size: int) -> VirtmemError | None:
    """A device that grows in the persistent definition must fit under maxMemory too."""
    more = after_size - before.size
    return _room(definition, more, CONFIG) if more > 0 else None


def cell(
    definition: Definition, model: str, node: int, versions: support.Versions, scope_name: str
) -> VirtmemError | None:
    """A device that moves to another NUMA cell must find it."""
    return _node(definition, model, node, versions, scope_name)


def answering(domain: Domain) -> VirtmemError | None:
    """A guest that has to do something must be able to."""
    details = {"domain": domain.name, "state": domain.state}
    if domain.state == "crashed":
        return VirtmemError(
            "domain_crashed",
            f"The guest of domain {domain.name} has crashed, so it can't answer.",
            details,
            "Find the cause, reset or restart the domain, and run the task again.",
        )
    if domain.state == "pmsuspended":
        return VirtmemError(
            "domain_paused",
            f"The guest of domain {domain.name} has suspended itself to memory, so it can't answer.",
            details,
            f"Wake it (virsh dompmwakeup {domain.name}), and run the task again.",
        )
    if domain.error_paused:
        return VirtmemError(
            "domain_paused",
            f"Domain {domain.name} was paused by an error, so its guest can't answer.",
            details,
            "Find the cause in the domain's log, resume the domain, and run the task again.",
        )
    return None
