# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much is asked of a connection: each call costs a round trip, and a layout makes them for each of its domains."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt")

import libvirt
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt import connection as _libvirt
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt.events import Event
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import CONFIG, LIVE, SCOPES


class Domain:
    """A domain that counts what it is asked."""

    def __init__(self, uuid: str, state: int = 1, persistent: bool = True) -> None:
        self.uuid, self.now, self.persistent = uuid, state, persistent
        self.asked: list[str] = []

    def name(self) -> str:
        """Known without asking the daemon, as in libvirt's binding."""
        return f"name of {self.uuid}"

    def UUIDString(self) -> str:  # noqa: N802 - libvirt's name
        """Known without asking the daemon."""
        return self.uuid

    def state(self) -> list[int]:
        """The state and its reason."""
        self.asked.append("state")
        return [self.now, 0]

    def isPersistent(self) -> int:  # noqa: N802
        """1 or 0."""
        self.asked.append("isPersistent")
        return int(self.persistent)

    def hasManagedSaveImage(self, _flags: int) -> int:  # noqa: N802
        """0: there is none."""
        self.asked.append("hasManagedSaveImage")
        return 0

    def XMLDesc(self, flags: int) -> str:  # noqa: N802
        """A text that tells which one it is."""
        self.asked.append(f"XMLDesc {flags}")
        return f"xml {flags}"


class Connection:
    """A connection to these domains that remembers who wants to hear of what."""

    def __init__(self, *domains: Domain) -> None:
        self.domains = {domain.uuid: domain for domain in domains}
        self.registered: list[tuple[t.Any, int, t.Callable[..., None]]] = []

    def lookupByName(self, name: str) -> Domain:  # noqa: N802
        """The domain with this UUID for a name."""
        return self.domains[name]

    def domainEventRegisterAny(self, domain: t.Any, event: int, callback: t.Any, _opaque: t.Any) -> int:  # noqa: N802
        """The number of the registration."""
        self.registered.append((domain, event, callback))
        return len(self.registered)

    def tell(self, uuid: str) -> None:
        """A size of this domain has changed."""
        for _domain, event, callback in self.registered:
            if event == libvirt.VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE:
                callback(self, self.domains[uuid], "ua-vm0", 1024, None)


def opened(*domains: Domain) -> tuple[Connection, _libvirt.Hypervisor]:
    """A hypervisor that has found these domains."""
    connection = Connection(*domains)
    hypervisor = _libvirt.Hypervisor(connection, "test:///default")
    for domain in domains:
        hypervisor.find(domain.uuid)
    return connection, hypervisor


def test_a_whole_domain_is_read_by_four_calls_and_a_running_guest_by_two() -> None:
    domain = Domain("a")
    _connection, hypervisor = opened(domain)
    whole = hypervisor.read("a", SCOPES)
    assert len(domain.asked) == 4
    assert (whole.live_xml, whole.config_xml, whole.persistent) == ("xml 0", "xml 2", True)
    domain.asked.clear()
    guest = hypervisor.read("a", (LIVE,))
    assert len(domain.asked) == 2
    assert (guest.live_xml, guest.config_xml, guest.persistent) == ("xml 0", None, True)


def test_who_writes_the_configuration_looks_whether_there_still_is_one() -> None:
    domain = Domain("a")
    _connection, hypervisor = opened(domain)
    hypervisor.read("a")
    domain.persistent = False
    reading = hypervisor.read("a", (CONFIG,))
    assert (reading.persistent, reading.config_xml) == (False, None)


def test_a_domain_that_is_off_has_no_live_xml() -> None:
    _connection, hypervisor = opened(Domain("a", state=libvirt.VIR_DOMAIN_SHUTOFF))
    reading = hypervisor.read("a")
    assert (reading.state, reading.live_xml, reading.config_xml) == ("shutoff", None, "xml 2")


@pytest.mark.parametrize("count", [1, 40])
def test_any_number_of_domains_is_watched_by_as_many_calls(count: int) -> None:
    domains = [Domain(str(number)) for number in range(count)]
    connection, hypervisor = opened(*domains)
    for domain in domains:
        hypervisor.watch(domain.uuid)
    assert len(connection.registered) == 4
    connection.tell(domains[-1].uuid)
    assert hypervisor.next_event(0) == Event(domains[-1].uuid, "ua-vm0")


def test_what_strangers_do_is_not_heard() -> None:
    connection, hypervisor = opened(Domain("a"), Domain("stranger"))
    hypervisor.watch("a")
    connection.tell("stranger")
    connection.tell("a")
    assert hypervisor.next_event(0) == Event("a", "ua-vm0")
    assert hypervisor.next_event(0) is None
