# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The survey of many hypervisors as values: each with its guests, and what is wrong with them.

Pure functions of results of memory_device_info, for the role `report`. They run on the controller.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ..module_utils._memory import models
from ..module_utils._memory.size import about, parse, show

Result = t.Mapping[str, t.Any]

# A guest that has less than this part of its memory left is under pressure; so is a host.
SCARCE = 0.1
_STOPPED = ("shutoff",)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong."""

    kind: str  # unreachable, unreadable, room, pressure, staged, or a kind of drift
    host: str
    domain: str | None
    text: str


@dataclass(frozen=True)
class Guest:
    """One domain; sizes in bytes."""

    host: str
    name: str
    uuid: str
    state: str
    boot: int
    effective: int  # what it is to have in all
    current: int | None  # what the running guest has of them
    size: int  # the most that its devices can give
    at_boot: int | None  # what it has in all from its next start on
    total: int | None  # what the guest itself counts
    usable: int | None  # what of it it could still give to a program
    capacity: Result
    devices: t.Sequence[Result]
    drift: t.Sequence[Result]

    @property
    def running(self) -> bool:
        """Whether there is a guest that has memory now."""
        return self.state not in _STOPPED

    @property
    def requested(self) -> int:
        """What is requested of its devices; a DIMM counts as a whole."""
        return self.effective - self.boot

    @property
    def used(self) -> int | None:
        """What the guest uses, where it says so."""
        return None if self.total is None or self.usable is None else self.total - self.usable


@dataclass(frozen=True)
class Host:
    """One hypervisor."""

    name: str
    uri: str
    reached: bool
    versions: str = ""
    total: int | None = None
    available: int | None = None
    reserve: int | None = None
    duration: float | None = None
    least: int = 0  # what it is to have left, declared or not
    guests: t.Sequence[Guest] = ()
    unreadable: t.Sequence[Result] = ()
    faults: list[Fault] = field(default_factory=list)


def _guest(host: str, domain: Result) -> Guest:
    memory, word = domain["memory"], domain.get("guest") or {}
    running = domain["state"] not in _STOPPED
    sides = [device["live" if running else "config"] for device in domain["devices"] if counts(device)]
    return Guest(
        host=host,
        name=domain["name"],
        uuid=domain["uuid"],
        state=domain["state"],
        boot=memory["boot"],
        effective=memory["effective"],
        current=memory["dimms"] + memory["current"] if running else None,
        size=sum(int(side["size"]) for side in sides if side),
        at_boot=memory["at_boot"] if running and memory["at_boot"] != memory["effective"] else None,
        total=word.get("total"),
        usable=word.get("usable"),
        capacity=domain["capacity"],
        devices=domain["devices"],
        drift=domain["drift"],
    )


def counts(device: Result) -> bool:
    """Whether a device counts as the guest's memory, as in a declaration of it."""
    facts = models.facts(device["model"])
    return facts.resizable or facts.is_memory


def _of_guest(guest: Guest) -> t.Iterator[Fault]:
    for found in guest.drift:
        yield Fault(found["kind"], guest.host, guest.name, found["message"])
    if guest.at_boot is not None:
        text = f"It has {show(guest.effective)}, and {show(guest.at_boot)} once it was shut down and started."
        yield Fault("staged", guest.host, guest.name, text)
    if guest.total and guest.usable is not None and guest.usable < SCARCE * guest.total:
        text = f"The guest has {about(guest.usable)} of {about(guest.total)} left."
        yield Fault("pressure", guest.host, guest.name, text)


def _host(survey: Result) -> Host:
    name, uri, info = survey["host"], survey["uri"], survey.get("info")
    if not info or not info.get("hypervisor"):
        text = (info or {}).get("msg") or "It was not reached."
        return Host(name, uri, reached=False, faults=[Fault("unreachable", name, None, str(text))])
    hypervisor = info["hypervisor"]
    memory = hypervisor.get("memory") or {}
    reserve = parse(survey["reserve"], f"reserve of {name}") if survey.get("reserve") else None
    read = [domain for domain in info["domains"] if domain["problem"] is None]
    host = Host(
        name,
        uri,
        reached=True,
        versions=" ".join(f"{what} {hypervisor[what]}" for what in ("libvirt", "qemu") if hypervisor.get(what)),
        total=memory.get("total"),
        available=memory.get("available"),
        reserve=reserve,
        least=int(SCARCE * (memory.get("total") or 0)) if reserve is None else reserve,
        duration=info.get("duration"),
        guests=[_guest(name, domain) for domain in read],
        unreadable=[domain for domain in info["domains"] if domain["problem"] is not None],
    )
    host.faults.extend(Fault("unreadable", name, bad["name"], bad["problem"]["msg"]) for bad in host.unreadable)
    if host.total and host.available is not None and host.available < host.least:
        text = (
            f"It has {about(host.available)} of {about(host.total)} available, and is to have {about(host.least)} left."
        )
        host.faults.append(Fault("room", name, None, text))
    for guest in host.guests:
        host.faults.extend(_of_guest(guest))
    return host


def hosts_of(surveys: t.Iterable[Result]) -> list[Host]:
    """Every hypervisor, by name.

    Args:
        surveys: for each its `host` (a name), `uri`, `info` (a result of memory_device_info, or None if it was not
            reached) and `reserve` (what it is to have left, a quantity, or nothing).

    Raises:
        VirtmemError: `invalid_quantity`, a reserve is none.
    """
    return sorted(map(_host, surveys), key=lambda host: host.name)
