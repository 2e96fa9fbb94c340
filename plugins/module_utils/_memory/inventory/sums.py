# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""All that is reported about one domain, about a hypervisor, and about all its domains together."""

from __future__ import annotations

import typing as t

from .. import guest, identity, models, support
from ..device import Definition, Device, Domain, Host, HostMemory
from ..errors import VirtmemError
from ..models import MODELS
from ..rules.around import needed
from ..total import plugged_of, sums_of, total_of
from .drift import DRIFTS, drift
from .results import Pair, Selection, chosen, device_result, options_of


def _capacity(definition: Definition, versions: support.Versions) -> dict[str, t.Any]:
    limit = definition.max_memory
    counted = support.slot_takers(definition, versions)
    return {
        "max_memory": limit,
        "headroom": None if limit is None else max(limit - definition.total, 0),
        "slots": definition.slots,
        "slots_free": max(definition.slots - len(counted), 0),
        "ports_free": definition.free_ports,
    }


def _memory(domain: Domain, definition: Definition, usable: int | None) -> dict[str, t.Any]:
    """What the guest has in all, as a declaration of its memory has it, and libvirt's own numbers."""
    found = sums_of(definition)
    return {
        "effective": found.effective,
        "boot": found.boot,
        "dimms": found.dimms,
        "requested": found.fixed,
        "current": None if domain.live is None else plugged_of(domain.live),
        "usable": usable,
        "at_boot": None if domain.config is None else total_of(domain.config),
        "total": definition.total,
        "balloon": definition.current_memory,
    }


def _told_device(domain: Domain, pair: Pair) -> dict[str, t.Any]:
    result = device_result(pair.sides(), judged=pair.live is not None)
    told = t.cast(Device, pair.config or pair.live)
    try:
        options = {**options_of(told), **identity.selector(domain, pair.live, pair.config)}
    except VirtmemError as error:
        return {**result, "options": None, "ambiguous": error.msg}
    return {**result, "options": options, "ambiguous": None}


def describe(domain: Domain, selection: Selection, versions: support.Versions) -> dict[str, t.Any]:
    """Everything about one domain's memory."""
    definition = domain.live or domain.config
    if definition is None:
        # It was in the list as a transient one that runs, and stopped before it was read; another may be defined.
        raise VirtmemError(
            "domain_vanished",
            f"Domain {domain.name} stopped while it was read.",
            {"domain": domain.name, "state": domain.state},
            "Run the task again to see what is there now.",
        )
    word = guest.hear(domain, domain.guest) if domain.guest is not None else None
    return {
        **domain.describe(),
        "managed_save": domain.saved is not None,
        "memory": _memory(domain, definition, word.guest.total if word else None),
        "most": None if domain.live is None else needed(domain.live),
        "usable": word.verdict.usable if word else None,
        "guest": word.guest.describe() if word else None,
        "capacity": _capacity(definition, versions),
        "around": definition.around.describe(),
        "devices": [_told_device(domain, pair) for pair in chosen(domain, selection)],
        "drift": drift(domain, selection, versions),
        "problem": None,
    }


def unreadable(name: str, uuid: str, state: str, persistent: bool, error: VirtmemError) -> dict[str, t.Any]:
    """What is reported about a domain that could not be read."""
    return {
        "name": name,
        "uuid": uuid,
        "state": state or None,
        "persistent": persistent,
        "managed_save": None,
        "memory": None,
        "most": None,
        "usable": None,
        "guest": None,
        "capacity": None,
        "around": None,
        "devices": [],
        "drift": [],
        "problem": {"error_code": error.error_code, "msg": error.msg, "hint": error.hint, "details": error.details},
    }


def host_memory(memory: HostMemory | None, host: Host | None) -> dict[str, t.Any] | None:
    """The memory of the hypervisor's machine, by NUMA node, and its pools of huge pages; None if it can't be told."""
    if memory is None or host is None:
        return None
    pools = [
        {"node": node, "size": size, "total": count, "free": memory.free_pages.get(node, {}).get(size)}
        for node, pages in sorted(host.pages.items())
        for size, count in sorted(pages.items())
        if size != host.smallest_page
    ]
    return {
        "total": memory.total,
        "available": memory.available,
        "nodes": [{"node": node, "total": total, "free": free} for node, (total, free) in sorted(memory.nodes.items())],
        "pools": pools,
    }


def hypervisor(versions: support.Versions, memory: dict[str, t.Any] | None) -> dict[str, t.Any]:
    """What answers, what its machine has, and what it can do with each model."""
    return {
        "memory": memory,
        "driver": versions.driver,
        "libvirt": support.show_version(versions.libvirt),
        "qemu": support.show_version(versions.hypervisor) if versions.driver == support.QEMU else None,
        "models": {
            model: {
                "supported": support.has(model, versions),
                "hot_plug": support.has(model, versions) and models.facts(model).hot_plug,
                "hot_unplug": support.has(model, versions) and support.can_unplug(model, versions),
                "resize": support.has(model, versions) and models.facts(model).resizable,
            }
            for model in MODELS
        },
    }


def summary(domains: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """The sums of all domains, for a dashboard."""
    devices = [device for domain in domains for device in domain["devices"]]
    live = [device["live"] for device in devices if device["live"]]
    drifts = [item for domain in domains for item in domain["drift"]]
    return {
        "domains": len(domains),
        "running": sum(domain["state"] == "running" for domain in domains),
        "unreadable": sum(domain["problem"] is not None for domain in domains),
        "guests_most": sum(domain["most"] or 0 for domain in domains),
        "devices": len(devices),
        "models": {model: sum(device["model"] == model for device in devices) for model in MODELS},
        "size": sum(device["size"] for device in live),
        "requested": sum(device.get("requested", device["size"]) for device in live),
        "current": sum(device.get("current", device["size"]) for device in live),
        "shortfall": sum(device["shortfall"] or 0 for device in devices),
        "not_converged": sum(device["converged"] is False for device in devices),
        "drift": len(drifts),
        "drift_kinds": {kind: sum(item["kind"] == kind for item in drifts) for kind in DRIFTS},
    }
