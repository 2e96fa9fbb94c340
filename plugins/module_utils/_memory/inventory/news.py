# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What is new about the domains of a hypervisor since they were last looked at, as flat events.

Nearly all of it is told from two looks at a domain, so that what happened while nobody looked is told too, once, as it
is by then. No I/O and no clock: whoever looks says what time it is.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .. import support
from ..device import CONFIG, LIVE, Device, Domain
from .drift import drift
from .results import Pair, Selection, chosen

SIZE_CHANGED, DEVICE_ADDED, DEVICE_REMOVED, UNPLUG_REFUSED = (
    *("size_changed", "device_added", "device_removed", "unplug_refused"),
)
STARTED, STOPPED, MIGRATED = "started", "stopped", "migrated"
DRIFT, NOT_CONVERGED, DELIVERED = "drift", "not_converged", "delivered"
CONNECTION_LOST, CONNECTED = "connection_lost", "connected"

# The kinds of events; a public contract like the error codes.
KINDS: t.Mapping[str, str] = {
    SIZE_CHANGED: "A device of a running guest has another size, requested or actual.",
    DEVICE_ADDED: "A running guest has a device that it had not.",
    DEVICE_REMOVED: "A running guest has a device no longer.",
    UNPLUG_REFUSED: "The guest refused to give a device back.",
    STARTED: "A domain was started.",
    STOPPED: "A domain has stopped.",
    MIGRATED: "A domain came from another hypervisor, or went to one.",
    DRIFT: "What runs, what is stored and what was asked for differ in a way in which they did not.",
    NOT_CONVERGED: "A guest does not move towards what is requested of it.",
    DELIVERED: "A guest has what is requested of it, and had not.",
    CONNECTION_LOST: "The hypervisor can't be reached; it is tried again.",
    CONNECTED: "The hypervisor is reached, for the first time or again.",
}

# The keys of every event; those that don't apply are None.
KEYS = (
    *("kind", "uri", "domain", "uuid", "state", "alias", "model", "size", "requested", "current"),
    *("requested_before", "current_before", "drift", "live", "config", "message"),
)

# A task changes the running guest and then the configuration: what differs for so long only, in seconds, is no drift.
SETTLED_AFTER = 0.15

Event = dict[str, t.Any]
_Key = tuple[str, str, str]


@dataclass
class _Known:
    """What was known of a domain when it was last looked at."""

    name: str
    uuid: str
    state: str
    running: bool = False
    devices: dict[str, Device] = field(default_factory=dict)  # of the running guest, by alias
    lagging: dict[str, tuple[Device, float]] = field(default_factory=dict)  # not as requested, as it is since when
    late: set[str] = field(default_factory=set)  # those of them that were told
    differs: dict[_Key, float] = field(default_factory=dict)  # each drift, since when
    told: set[_Key] = field(default_factory=set)  # those of them that were told


class News:
    """What is known of one hypervisor, and what is new whenever one of its domains is looked at."""

    def __init__(self, uri: str, patience: float) -> None:
        """Nothing is known yet, not even what answers.

        Args:
            uri: the hypervisor's, for the events.
            patience: for how long a guest may stand still on its way, in seconds.
        """
        self._uri = uri
        self.versions = support.Versions(libvirt=0, hypervisor=0)  # set by whoever connects
        self._patience = patience
        self._known: dict[str, _Known] = {}

    def domains(self) -> set[str]:
        """The UUIDs of the domains that are known."""
        return set(self._known)

    def of_connection(self, kind: str, message: str) -> Event:
        """An event about the hypervisor itself."""
        return self._event(kind, None, message=message)

    def look(self, domain: Domain, now: float, happened: t.Sequence[str] = (), begins: bool = False) -> list[Event]:
        """What is new about a domain.

        Args:
            domain: it, as it is now.
            now: the time, in seconds.
            happened: what libvirt said of it since the last look: `started`, `stopped`, `migrated`.
            begins: whether this is the first look at the hypervisor: what runs then has not just been started.
        """
        was = self._known.get(domain.uuid)
        known = _Known(domain.name, domain.uuid, domain.state, domain.live is not None)
        known.devices = {device.alias: device for device in domain.live.devices if device.alias} if domain.live else {}
        self._known[domain.uuid] = known
        before = was or _Known(domain.name, domain.uuid, "shutoff")
        events = list(self._of_state(known, before, happened, begins=begins and was is None))
        if not (begins and was is None):
            events += self._of_devices(known, before)
        events += self._of_delivery(known, before, now)
        return events + self._of_drift(domain, known, before, now)

    def gone(self, uuid: str, happened: t.Sequence[str] = ()) -> list[Event]:
        """What is new about a domain that is there no longer."""
        was = self._known.pop(uuid, None)
        if was is None or not was.running:
            return []
        return [self._event(MIGRATED if MIGRATED in happened else STOPPED, was, state="shutoff")]

    def refused(self, uuid: str, alias: str | None) -> list[Event]:
        """A guest has refused to give a device back: nothing of the domain shows it."""
        known = self._known.get(uuid)
        if known is None or alias is None:
            return []
        return [self._event(UNPLUG_REFUSED, known, known.devices.get(alias), alias=alias)]

    def unsettled(self) -> list[str]:
        """The UUIDs of the domains that must be looked at once more, `SETTLED_AFTER` seconds after the last look."""
        return [known.uuid for known in self._known.values() if known.differs.keys() - known.told]

    def _event(self, kind: str, known: _Known | None, device: Device | None = None, **more: t.Any) -> Event:
        event: Event = {**dict.fromkeys(KEYS), "kind": kind, "uri": self._uri}
        if known is not None:
            event |= {"domain": known.name, "uuid": known.uuid, "state": known.state}
        if device is not None:
            event |= {"alias": device.alias, "model": device.model, "size": device.size}
            event |= {"requested": device.requested, "current": device.current}
        return {**event, **more}

    def _of_state(self, known: _Known, before: _Known, happened: t.Sequence[str], begins: bool) -> t.Iterator[Event]:
        if begins:
            return
        if MIGRATED in happened:
            yield self._event(MIGRATED, known)
        # What libvirt says comes after a look may have shown it; one that stopped and started since then has done both.
        elif before.running and (STOPPED in happened or not known.running):
            yield self._event(STOPPED, known, state="shutoff")
            before.running = False
        if known.running and not before.running:
            before.devices = known.devices  # all of them have come with it
            if MIGRATED not in happened:
                yield self._event(STARTED, known)

    def _of_devices(self, known: _Known, before: _Known) -> t.Iterator[Event]:
        if not known.running:
            return
        for alias, device in known.devices.items():
            was = before.devices.get(alias)
            if was is None:
                yield self._event(DEVICE_ADDED, known, device)
            elif (was.requested, was.current) != (device.requested, device.current):
                yield self._event(
                    SIZE_CHANGED, known, device, requested_before=was.requested, current_before=was.current
                )
        for alias in before.devices.keys() - known.devices.keys():
            yield self._event(DEVICE_REMOVED, known, before.devices[alias])

    def _of_delivery(self, known: _Known, before: _Known, now: float) -> t.Iterator[Event]:
        for alias, device in known.devices.items():
            was, since = before.lagging.get(alias, (None, now))
            if device.requested == device.current:
                moved = alias in before.devices and before.devices[alias].requested != device.requested
                if was is not None or moved:
                    yield self._event(DELIVERED, known, device)
                continue
            if was != device:
                since = now
            elif alias in before.late:
                known.late.add(alias)
            elif now - since >= self._patience:
                known.late.add(alias)
                text = f"{alias} of {known.name} does not move towards what is requested of it."
                yield self._event(NOT_CONVERGED, known, device, message=text)
            known.lagging[alias] = device, since

    def _of_drift(self, domain: Domain, known: _Known, before: _Known, now: float) -> list[Event]:
        events = []
        pairs = {pair.name: pair for pair in chosen(domain, Selection())}
        for found in drift(domain, Selection(), self.versions):
            if found["kind"] == NOT_CONVERGED:
                continue  # told by itself, when the guest has had its time
            name = found["device"] or ""
            # Sums of a whole domain move a little all the time, and are the same drift.
            sides_of = [found[scope] if name else found[scope] is not None for scope in (LIVE, CONFIG)]
            key = (found["kind"], name, repr(sides_of))
            since = known.differs[key] = before.differs.get(key, now)
            if key not in before.told and now - since < SETTLED_AFTER:
                continue
            known.told.add(key)
            if key not in before.told:
                told = {part: found[part] for part in (LIVE, CONFIG, "message")}
                device = _side(pairs.get(name))
                events.append(self._event(DRIFT, known, device, alias=name or None, drift=found["kind"], **told))
        return events


def _side(pair: Pair | None) -> Device | None:
    """The device as it is in the running guest, else in the configuration."""
    return (pair.live or pair.config) if pair is not None else None
