# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much is asked of a connection: each call costs a round trip, and a layout makes them for each of its domains."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

pytest.importorskip("libvirt")

import libvirt
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt import connection as _libvirt
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt.events import Event
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import CONFIG, LIVE, SCOPES


class Counted:
    """Something of libvirt's, whose every call is noted and then made. What the binding knows by itself is no call."""

    known: t.ClassVar[set[str]] = {"name", "UUIDString"}

    def __init__(self, real: t.Any) -> None:
        self.real = real
        self.asked: list[str] = []
        self.callbacks: list[tuple[int, t.Callable[..., None]]] = []

    def __getattr__(self, name: str) -> t.Any:
        def call(*arguments: t.Any) -> t.Any:
            if name not in self.known:
                self.asked.append(name)
            if name == "domainEventRegisterAny":
                self.callbacks.append(arguments[1:3])
            return getattr(self.real, name)(*arguments)

        return call

    def tell(self, domain: t.Any) -> None:
        """A size of this domain has changed: the one thing that the driver for tests never says."""
        for event, callback in self.callbacks:
            if event == libvirt.VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE:
                callback(self.real, domain, "ua-vm0", 1024, None)


DEFINITION = "<domain type='test'><name>{}</name><memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>"


@pytest.fixture
def connection(tmp_path: Path) -> t.Iterator[Counted]:
    """libvirt's own driver for tests, with no domain in it."""
    file = tmp_path / "node.xml"
    file.write_text("<node/>")
    _libvirt.EVENT_LOOP.start()
    real = libvirt.open(f"test://{file}")
    yield Counted(real)
    real.close()


def opened(connection: Counted, *names: str, running: bool = True) -> tuple[_libvirt.Hypervisor, dict[str, Counted]]:
    """A hypervisor that has found these domains, and the domains by their UUIDs."""
    hypervisor = _libvirt.Hypervisor(connection, "test:///default")
    for name in names:
        domain = connection.real.defineXML(DEFINITION.format(name))
        if running:
            domain.create()
        hypervisor.find(name)
    domains = {uuid: Counted(handle) for uuid, handle in hypervisor._domains.items()}
    hypervisor._domains.update(domains)
    return hypervisor, domains


def test_a_whole_domain_is_read_by_four_calls_and_a_running_guest_by_two(connection: Counted) -> None:
    hypervisor, domains = opened(connection, "a")
    [(uuid, domain)] = domains.items()
    whole = hypervisor.read(uuid, SCOPES)
    assert len(domain.asked) == 4
    assert whole.live_xml is not None
    assert whole.config_xml is not None
    assert whole.persistent
    domain.asked.clear()
    guest = hypervisor.read(uuid, (LIVE,))
    assert len(domain.asked) == 2
    assert (guest.live_xml is None, guest.config_xml, guest.persistent) == (False, None, True)


def test_who_writes_the_configuration_looks_whether_there_still_is_one(connection: Counted) -> None:
    hypervisor, domains = opened(connection, "a")
    [(uuid, domain)] = domains.items()
    hypervisor.read(uuid)
    domain.real.undefine()
    reading = hypervisor.read(uuid, (CONFIG,))
    assert (reading.persistent, reading.config_xml) == (False, None)


def test_a_domain_that_is_off_has_no_live_xml(connection: Counted) -> None:
    hypervisor, domains = opened(connection, "a", running=False)
    reading = hypervisor.read(next(iter(domains)))
    assert (reading.state, reading.live_xml) == ("shutoff", None)
    assert reading.config_xml is not None


@pytest.mark.parametrize("count", [1, 40])
def test_any_number_of_domains_is_watched_by_as_many_calls(connection: Counted, count: int) -> None:
    hypervisor, domains = opened(connection, *(f"d{number}" for number in range(count)))
    connection.asked.clear()
    for uuid in domains:
        hypervisor.watch(uuid)
    assert connection.asked == ["domainEventRegisterAny"] * 5
    last = next(reversed(domains))
    connection.tell(domains[last].real)
    assert hypervisor.next_event(0) == Event(last, "ua-vm0")


def test_what_strangers_do_is_not_heard(connection: Counted) -> None:
    hypervisor, domains = opened(connection, "a", "stranger")
    mine, stranger = domains
    hypervisor.watch(mine)
    connection.tell(domains[stranger].real)
    connection.tell(domains[mine].real)
    assert hypervisor.next_event(0) == Event(mine, "ua-vm0")
    assert hypervisor.next_event(0) is None
