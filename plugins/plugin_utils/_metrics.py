# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""A survey as metrics, in the text format of Prometheus, for node_exporter's textfile collector.

Base units, and no series of what could not be read: the file is written anew each time, so that nothing stale is in it.
"""

from __future__ import annotations

import typing as t

from ..module_utils._memory.inventory.drift import DRIFTS
from . import _fleet

# A series' labels as they are written: many series of a guest have the same.
_Labels = str

# Each metric, and what it is.
METRICS: t.Mapping[str, str] = {
    "virtmem_survey_success": "Whether the hypervisor was read.",
    "virtmem_survey_duration_seconds": "How long reading the hypervisor took.",
    "virtmem_survey_timestamp_seconds": "When the survey was made, in seconds since 1970.",
    "virtmem_host_memory_bytes": "The memory of the hypervisor's machine.",
    "virtmem_host_available_bytes": "What of it is available.",
    "virtmem_host_reserve_bytes": "What of it is to be left, where that is declared.",
    "virtmem_host_unreadable_domains": "How many domains could not be read.",
    "virtmem_drift": "How many differences there are between what runs, what is stored and what was asked for.",
    "virtmem_domain_running": "Whether the domain runs.",
    "virtmem_domain_boot_bytes": "The domain's boot memory.",
    "virtmem_domain_memory_bytes": "What the guest is to have in all.",
    "virtmem_domain_at_boot_bytes": "What the guest has in all from its next start on, where that differs.",
    "virtmem_domain_guest_total_bytes": "What the guest itself counts as its memory, where it says so.",
    "virtmem_domain_guest_usable_bytes": "What the guest could still give to programs, where it says so.",
    "virtmem_domain_headroom_bytes": "What maxMemory leaves for further devices.",
    "virtmem_domain_slots_free": "How many memory slots are free.",
    "virtmem_domain_ports_free": "How many hot-plug ports are free.",
    "virtmem_device_size_bytes": "The most that the device can give.",
    "virtmem_device_requested_bytes": "What is requested of the device.",
    "virtmem_device_current_bytes": "What the guest has of the device.",
    "virtmem_device_shortfall_bytes": "What the guest lacks of what is requested.",
}


def _labels(**labels: str) -> _Labels:
    return ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())


def _of_device(domain: _Labels, device: _fleet.Result) -> t.Iterator[tuple[str, _Labels, t.Any]]:
    side = device["live"] or device["config"]
    own = _labels(alias=str(device["alias"] or side.get("alias") or ""), model=str(device["model"]))
    labels = f"{domain},{own}"
    yield "virtmem_device_size_bytes", labels, side["size"]
    yield "virtmem_device_requested_bytes", labels, side.get("requested")
    if device["live"]:
        yield "virtmem_device_current_bytes", labels, side.get("current")
    yield "virtmem_device_shortfall_bytes", labels, device["shortfall"]


def _of_guest(guest: _fleet.Guest) -> t.Iterator[tuple[str, _Labels, t.Any]]:
    labels = _labels(host=guest.host, domain=guest.name, uuid=guest.uuid)
    yield "virtmem_domain_running", labels, int(guest.running)
    yield "virtmem_domain_boot_bytes", labels, guest.boot
    yield "virtmem_domain_memory_bytes", labels, guest.effective
    yield "virtmem_domain_at_boot_bytes", labels, guest.at_boot
    yield "virtmem_domain_guest_total_bytes", labels, guest.total
    yield "virtmem_domain_guest_usable_bytes", labels, guest.usable
    yield "virtmem_domain_headroom_bytes", labels, guest.capacity.get("headroom")
    yield "virtmem_domain_slots_free", labels, guest.capacity.get("slots_free")
    yield "virtmem_domain_ports_free", labels, guest.capacity.get("ports_free")
    for device in guest.devices:
        yield from _of_device(labels, device)


def _of_host(host: _fleet.Host, now: float) -> t.Iterator[tuple[str, _Labels, t.Any]]:
    labels = _labels(host=host.name, uri=host.uri)
    yield "virtmem_survey_success", labels, int(host.reached)
    yield "virtmem_survey_timestamp_seconds", labels, now
    if not host.reached:
        return
    yield "virtmem_survey_duration_seconds", labels, host.duration
    yield "virtmem_host_memory_bytes", labels, host.total
    yield "virtmem_host_available_bytes", labels, host.available
    yield "virtmem_host_reserve_bytes", labels, host.reserve
    yield "virtmem_host_unreadable_domains", labels, len(host.unreadable)
    for kind in DRIFTS:
        count = sum(found["kind"] == kind for guest in host.guests for found in guest.drift)
        yield "virtmem_drift", f"{labels},{_labels(kind=kind)}", count
    for guest in host.guests:
        yield from _of_guest(guest)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def metrics(hosts: t.Iterable[_fleet.Host], now: float) -> str:
    """The file.

    Args:
        hosts: all of them.
        now: the time, in seconds since 1970.
    """
    samples: dict[str, list[str]] = {name: [] for name in METRICS}
    for host in hosts:
        for name, labels, value in _of_host(host, now):
            if value is not None:
                samples[name].append(f"{name}{{{labels}}} {_number(value)}")
    lines = []
    for name, found in samples.items():
        if found:
            lines += [f"# HELP {name} {METRICS[name]}", f"# TYPE {name} gauge", *found]
    return "\n".join([*lines, ""])
