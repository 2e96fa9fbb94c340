# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole domains over a made-up hypervisor that keeps their XML: steps with barriers, many domains, other parties.

It attaches, updates, detaches and redefines as libvirt does; its guests answer after a while, or never.
"""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply import whole
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.job import Job, Order, Planned, Running
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.task import Patience
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt import connection as _libvirt
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt.events import Event
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import (
    ABSENT,
    CONFIG,
    LIVE,
    SCOPES,
    Declaration,
    Wish,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, KIB, MIB
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.support import Versions
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers

DOMAIN = """<domain><memory unit='KiB'>1048576</memory><maxMemory slots='16' unit='KiB'>16777216</maxMemory>
<vcpu>2</vcpu><features><acpi/></features><cpu><numa><cell id='0' cpus='0-1' memory='1048576' unit='KiB'/></numa></cpu>
<devices><graphics passwd='secret'/></devices></domain>"""

Hook = t.Callable[["Hypervisor"], None]


def vm(alias: str, requested: int = 0, size: int = 2 * GIB) -> str:
    """A virtio-mem device as libvirt prints it."""
    return (
        f"<memory model='virtio-mem'><target><size unit='KiB'>{size // KIB}</size><node>0</node>"
        f"<block unit='KiB'>2048</block><requested unit='KiB'>{requested // KIB}</requested></target>"
        f"<alias name='{alias}'/></memory>"
    )


def dimm(alias: str, size: int = GIB) -> str:
    """A DIMM as libvirt prints it."""
    target = f"<target><size unit='KiB'>{size // KIB}</size><node>0</node></target>"
    return f"<memory model='dimm'>{target}<alias name='{alias}'/></memory>"


def name_of(element: ET.Element) -> str:
    """The alias."""
    alias = element.find("alias")
    return "" if alias is None else alias.get("name", "")


@dataclass
class Guest:
    """A running persistent domain."""

    uuid: str
    sides: dict[str, ET.Element]
    takes: float | None = 1.0  # seconds until the guest has done what it is asked for; None: never
    due: list[tuple[float, t.Callable[[], None]]] = field(default_factory=list)

    def device(self, scope: str, alias: str) -> ET.Element | None:
        """The device with this alias."""
        return next((item for item in self.sides[scope].findall("devices/memory") if name_of(item) == alias), None)

    def parent(self, scope: str) -> ET.Element:
        """What the devices of a scope are in."""
        parent = self.sides[scope].find("devices")
        assert parent is not None
        return parent

    def add(self, scope: str, text: str) -> ET.Element:
        """A device more."""
        element = ET.fromstring(text)
        self.parent(scope).append(element)
        self.count(scope, element, 1)
        if scope == LIVE and element.get("model") == "virtio-mem":
            target = element.find("target")
            assert target is not None
            ET.SubElement(target, "current", unit="KiB").text = "0"
        return element

    def remove(self, scope: str, element: ET.Element) -> None:
        """A device less."""
        self.parent(scope).remove(element)
        self.count(scope, element, -1)

    def count(self, scope: str, element: ET.Element, sign: int) -> None:
        """The total, with all devices in it."""
        total = self.sides[scope].find("memory")
        assert total is not None
        total.text = str(int(total.text or "0") + sign * int(element.findtext("target/size") or "0"))

    def settle(self, element: ET.Element) -> None:
        """The guest has what is requested."""
        current = element.find("target/current")
        assert current is not None
        current.text = element.findtext("target/requested")


def guest(uuid: str, *devices: str, takes: float | None = 1.0, only: str | None = None) -> Guest:
    """A domain with these devices in both scopes, or in one; a guest has what is requested of it at first."""
    made = Guest(uuid, {scope: ET.fromstring(DOMAIN) for scope in SCOPES}, takes)
    made.sides[LIVE].set("id", "1")
    for scope in (only,) if only else SCOPES:
        for text in devices:
            element = made.add(scope, text)
            if scope == LIVE and element.get("model") == "virtio-mem":
                made.settle(element)
    return made


@dataclass
class Hypervisor:
    """The connection. `hooks` is what others do when a call of ours with this name comes, once each."""

    guests: dict[str, Guest]
    now: float = 100.0
    log: list[str] = field(default_factory=list)
    hooks: dict[str, Hook] = field(default_factory=dict)
    reads: int = 0

    def clock(self) -> float:
        """The time."""
        return self.now

    def versions(self) -> Versions:
        """Recent enough to unplug everything."""
        return helpers.TRIXIE

    def find(self, domain: str) -> str:
        """Domains are named by their UUIDs here, or with a prefix."""
        uuid = domain.replace("name-of-", "")
        if uuid not in self.guests:
            raise VirtmemError("domain_not_found", "none", hint="look")
        return uuid

    def read(self, uuid: str, scopes: t.Sequence[str] = SCOPES) -> _libvirt.Reading:
        """The domain as it is now."""
        self.reads += 1
        one = self.guests[uuid]
        for item in [item for item in one.due if item[0] <= self.now]:
            one.due.remove(item)
            item[1]()
        text = {scope: ET.tostring(one.sides[scope], encoding="unicode") for scope in scopes}
        return _libvirt.Reading(uuid, uuid, "running", True, False, text.get(LIVE), text.get(CONFIG))

    def watch(self, uuid: str) -> None:
        """Registers for events."""
        self.log.append(f"watch {uuid}")

    def next_event(self, timeout: float) -> Event | None:
        """The next guest that is ready, or time that passes."""
        due = [(when, one.uuid) for one in self.guests.values() for when, _what in one.due]
        when, uuid = min(due, default=(self.now + timeout, None))
        if when > self.now + timeout:
            when, uuid = self.now + timeout, None
        self.now = max(self.now, when)
        return None if uuid is None else Event(uuid, "some device")

    def _did(self, call: str, uuid: str, alias: str) -> Guest:
        entry = f"{call} {uuid} {alias}".strip()
        hook = self.hooks.pop(entry, None)
        if hook is not None:
            hook(self)
        self.log.append(entry)
        return self.guests[uuid]

    def _later(self, one: Guest, action: t.Callable[[], None]) -> None:
        if one.takes is not None:
            one.due.append((self.now + one.takes, action))

    def attach(self, uuid: str, scope: str, text: str) -> None:
        """As libvirt does it."""
        one = self._did(f"attach {scope}", uuid, name_of(ET.fromstring(text)))
        element = one.add(scope, text)
        if scope == LIVE and element.get("model") == "virtio-mem":
            self._later(one, lambda: one.settle(element))

    def update(self, uuid: str, scope: str, text: str) -> None:
        """As libvirt does it."""
        given = ET.fromstring(text)
        one = self._did(f"update {scope}", uuid, name_of(given))
        element = one.device(scope, name_of(given))
        if element is None:
            raise VirtmemError("libvirt_error", "not found", hint="look")
        requested = element.find("target/requested")
        assert requested is not None
        requested.text = given.findtext("target/requested")
        if scope == LIVE:
            self._later(one, lambda: one.settle(element))

    def detach(self, uuid: str, scope: str, text: str) -> None:
        """Only ever called for the configuration."""
        assert scope == CONFIG
        alias = name_of(ET.fromstring(text))
        one = self._did("detach config", uuid, alias)
        element = one.device(CONFIG, alias)
        assert element is not None
        one.remove(CONFIG, element)

    def unplug(self, uuid: str, alias: str) -> None:
        """Asks the guest."""
        one = self._did("unplug", uuid, alias)
        element = one.device(LIVE, alias)
        assert element is not None
        assert (element.findtext("target/current") or "0") == "0"
        self._later(one, lambda: one.remove(LIVE, element))

    def config_with_secrets(self, uuid: str) -> str:
        """The configuration."""
        return ET.tostring(self.guests[uuid].sides[CONFIG], encoding="unicode")

    def define(self, text: str) -> None:
        """The definition of the only domain that a test redefines."""
        (one,) = self.guests.values()
        self._did("define", one.uuid, "")
        one.sides[CONFIG] = ET.fromstring(text)


def hypervisor(*guests: Guest, **hooks: Hook) -> Hypervisor:
    """A hypervisor with these guests."""
    return Hypervisor({one.uuid: one for one in guests}, hooks=hooks)


def run(host: Hypervisor, orders: t.Mapping[str, Declaration], patience: Patience | None = None) -> t.Sequence[Job]:
    """Prepares, and carries out what nothing speaks against, as the module does."""
    patience = patience or Patience(timeout=30.0)
    connection = t.cast("t.Any", host)
    jobs = whole.prepare(connection, [Order(name, order) for name, order in orders.items()], patience)
    running = [Running(job) for job in jobs if isinstance(job, Planned)]
    if len(running) < len(jobs):
        return jobs
    whole.apply(connection, running, patience, host.clock)
    return running


def codes(jobs: t.Sequence[Job]) -> list[str | None]:
    """How each ended."""
    return [job.error.error_code if job.error else None for job in jobs]


def declared(*wishes: Wish, **more: t.Any) -> Declaration:
    """A declaration."""
    return Declaration(wishes, **more)


def changes(host: Hypervisor) -> list[str]:
    """What was done."""
    return [entry for entry in host.log if not entry.startswith("watch")]


# --- barriers


def test_a_removal_drains_unplugs_and_then_leaves_the_configuration() -> None:
    host = hypervisor(guest("a", vm("ua-vm0", GIB)))
    (job,) = run(host, {"a": declared(Wish(alias="ua-vm0", state=ABSENT))})
    assert codes([job]) == [None]
    assert changes(host) == ["update live a ua-vm0", "unplug a ua-vm0", "detach config a ua-vm0"]
    assert host.now == 102.0  # one second for each answer
    assert [host.guests["a"].device(scope, "ua-vm0") for scope in SCOPES] == [None, None]
    assert job.observed is not None
    assert job.observed.config is not None
    assert job.observed.config.devices == ()


def test_a_replacement_attaches_when_the_old_device_is_out() -> None:
    host = hypervisor(guest("a", vm("ua-vm0", GIB)))
    wish = Wish(alias="ua-vm0", size=4 * GIB, requested=3 * GIB, replace=True)
    (job,) = run(host, {"a": declared(wish)})
    assert codes([job]) == [None]
    assert changes(host) == ["update live a ua-vm0", "unplug a ua-vm0", "attach live a ua-vm0", "define a"]
    device = host.guests["a"].device(LIVE, "ua-vm0")
    assert device is not None
    assert device.findtext("target/current") == str(3 * GIB // KIB)
    assert "secret" in host.config_with_secrets("a")


def test_domains_with_barriers_wait_at_the_same_time() -> None:
    names = [f"d{number}" for number in range(10)]
    host = hypervisor(*(guest(name, dimm("ua-old"), vm("ua-vm0")) for name in names))
    declaration = declared(Wish(alias="ua-vm0", requested=GIB), exclusive=True)
    jobs = run(host, dict.fromkeys(names, declaration))
    assert codes(jobs) == [None] * 10
    assert host.now == 102.0  # the unplug, then the growth, whatever the number of domains
    # Nobody's configuration loses the device before his guest has.
    for name in names:
        own = [entry for entry in changes(host) if f" {name} " in f"{entry} "]
        assert own == [
            f"unplug {name} ua-old",
            f"detach config {name} ua-old",
            f"update live {name} ua-vm0",
            f"update config {name} ua-vm0",
        ]


def test_a_guest_that_gives_nothing_back_keeps_its_configuration() -> None:
    host = hypervisor(guest("a", dimm("ua-old"), takes=None), guest("b", vm("ua-vm0")))
    jobs = run(
        host,
        {"a": declared(Wish(alias="ua-old", state=ABSENT)), "b": declared(Wish(alias="ua-vm0", requested=GIB))},
        Patience(timeout=5.0),
    )
    assert codes(jobs) == ["not_converged", None]
    assert host.now == 105.0
    assert host.guests["a"].device(CONFIG, "ua-old") is not None
    assert jobs[0].error is not None
    assert jobs[0].error.details["shortfall"] == GIB
    assert "detach config a ua-old" not in host.log


def test_the_time_is_for_the_whole_task() -> None:
    host = hypervisor(*(guest(name, dimm("ua-old"), vm("ua-vm0"), takes=4.0) for name in "abc"))
    declaration = declared(Wish(alias="ua-vm0", requested=GIB), exclusive=True)
    jobs = run(host, dict.fromkeys("abc", declaration), Patience(timeout=6.0))
    assert codes(jobs) == ["not_converged"] * 3
    assert host.now == 106.0


def test_who_does_not_wait_does_all_that_needs_no_answer() -> None:
    host = hypervisor(guest("a", dimm("ua-old"), vm("ua-vm0"), takes=None))
    declaration = declared(Wish(alias="ua-vm0", requested=GIB), exclusive=True)
    (job,) = run(host, {"a": declaration}, Patience(wait=False))
    assert codes([job]) == [None]
    assert changes(host) == ["unplug a ua-old", "update live a ua-vm0", "update config a ua-vm0"]
    assert host.now == 100.0
    assert tuple(job.steps) == tuple(job.done)


# --- order over all domains


def test_no_domain_grows_before_all_have_been_asked_to_shrink() -> None:
    host = hypervisor(*(guest(name, vm("ua-x"), vm("ua-y", GIB), vm("ua-z", GIB)) for name in "ab"))
    wishes = (
        Wish(alias="ua-x", requested=GIB),
        Wish(alias="ua-y", requested=0),
        Wish(alias="ua-z", requested=512 * MIB),
    )
    jobs = run(host, dict.fromkeys("ab", declared(*wishes)))
    assert codes(jobs) == [None, None]
    assert [entry for entry in changes(host) if " live " in entry] == [
        *(f"update live {name} {alias}" for name in "ab" for alias in ("ua-y", "ua-z")),
        *(f"update live {name} ua-x" for name in "ab"),
    ]


def test_one_bad_domain_keeps_all_from_being_changed() -> None:
    host = hypervisor(guest("a", vm("ua-vm0")), guest("b"))
    jobs = run(
        host,
        {
            "a": declared(Wish(alias="ua-vm0", requested=GIB)),
            "b": declared(Wish(alias="ua-d", model="dimm", size=64 * GIB)),
            "c": declared(Wish(alias="ua-vm0", requested=0)),
            "name-of-a": declared(Wish(alias="ua-vm0", requested=0)),
        },
    )
    assert codes(jobs) == [None, "insufficient_headroom", "domain_not_found", "invalid_option"]
    assert changes(host) == []


# --- others, at the same time


def appears(uuid: str, scope: str, text: str) -> Hook:
    """Someone attaches a device, which the guest takes at once."""

    def hook(host: Hypervisor) -> None:
        element = host.guests[uuid].add(scope, text)
        if scope == LIVE:
            host.guests[uuid].settle(element)

    return hook


def asks(uuid: str, scope: str, alias: str, requested: int) -> Hook:
    """Someone requests another size."""

    def hook(host: Hypervisor) -> None:
        element = host.guests[uuid].device(scope, alias)
        assert element is not None
        requests = element.find("target/requested")
        assert requests is not None
        requests.text = str(requested // KIB)

    return hook


def test_a_step_that_fails_because_the_domain_is_another_one_is_planned_again_once() -> None:
    def vanishes(host: Hypervisor) -> None:
        one = host.guests["a"]
        for scope in SCOPES:
            element = one.device(scope, "ua-vm0")
            assert element is not None
            one.remove(scope, element)

    host = hypervisor(guest("a", vm("ua-vm0")), **{"update live a ua-vm0": vanishes})
    (job,) = run(host, {"a": declared(Wish(alias="ua-vm0", model="virtio-mem", size=2 * GIB, requested=GIB))})
    assert codes([job]) == [None]
    assert isinstance(job, Running)
    assert job.replans
    assert changes(host) == ["update live a ua-vm0", "attach live a ua-vm0", "attach config a ua-vm0"]
    # The result has the steps that were taken, not those that failed.
    assert [step.op for step in job.steps] == ["attach", "attach"]


def test_what_fails_twice_is_an_error_and_the_others_go_on() -> None:
    def breaks(host: Hypervisor) -> None:
        host.hooks["update live a ua-vm0"] = breaks
        raise VirtmemError("libvirt_error", "no", hint="look")

    host = hypervisor(guest("a", vm("ua-vm0")), guest("b", vm("ua-vm0")), **{"update live a ua-vm0": breaks})
    jobs = run(host, dict.fromkeys("ab", declared(Wish(alias="ua-vm0", requested=GIB))))
    assert codes(jobs) == ["libvirt_error", None]
    assert changes(host) == ["update live b ua-vm0", "update config b ua-vm0"]


def test_a_configuration_that_someone_undid_is_written_again() -> None:
    host = hypervisor(guest("a", vm("ua-vm0")))

    def undoes(done: Hypervisor) -> None:
        done.guests["a"].due.append((done.now, lambda: asks("a", CONFIG, "ua-vm0", 0)(done)))

    host.hooks["update config a ua-vm0"] = undoes
    (job,) = run(host, {"a": declared(Wish(alias="ua-vm0", requested=GIB))})
    assert codes([job]) == [None]
    assert changes(host).count("update config a ua-vm0") == 2


def test_who_is_overtaken_in_the_guest_gives_way_in_the_configuration() -> None:
    host = hypervisor(guest("a", vm("ua-vm0")))

    def overtakes(done: Hypervisor) -> None:
        one = done.guests["a"]
        element = one.device(LIVE, "ua-vm0")
        assert element is not None
        asks("a", LIVE, "ua-vm0", 512 * MIB)(done)
        one.settle(element)

    def after(done: Hypervisor) -> None:
        # After the wait has seen the goal reached, before the last look.
        done.guests["a"].due.append((done.now + 1.0, lambda: arm(done)))

    def arm(done: Hypervisor) -> None:
        element = done.guests["a"].device(LIVE, "ua-vm0")
        assert element is not None
        done.guests["a"].settle(element)
        done.guests["a"].due.append((done.now, lambda: overtakes(done)))

    host.hooks["update config a ua-vm0"] = after
    (job,) = run(host, {"a": declared(Wish(alias="ua-vm0", requested=GIB))})
    assert codes([job]) == ["changed_meanwhile"]
    config = host.guests["a"].device(CONFIG, "ua-vm0")
    assert config is not None
    assert config.findtext("target/requested") == str(512 * MIB // KIB)


@pytest.mark.parametrize("scope", SCOPES)
def test_an_alias_that_someone_took_meanwhile_is_not_given_twice(scope: str) -> None:
    host = hypervisor(guest("a"))
    taken = dimm("ua-vm0") if scope == CONFIG else vm("ua-vm0", GIB)
    # Between the plan and the first step.
    original = host.read

    def read(uuid: str, scopes: t.Sequence[str] = SCOPES) -> _libvirt.Reading:
        if host.reads == 1:
            appears("a", scope, taken)(host)
        return original(uuid, scopes)

    host.read = read  # type: ignore[method-assign]
    (job,) = run(host, {"a": declared(Wish(alias="ua-vm0", model="virtio-mem", size=2 * GIB, requested=GIB))})
    aliases = [name_of(item) for item in host.guests["a"].sides[scope].findall("devices/memory")]
    assert aliases == ["ua-vm0"]
    expected: list[str | None] = ["alias_conflict"] if scope == CONFIG else [None]
    assert codes([job]) == expected


def test_a_domain_is_read_no_more_often_than_needed() -> None:
    host = hypervisor(guest("a", vm("ua-vm0"), takes=None))
    run(host, {"a": declared(Wish(alias="ua-vm0", requested=GIB))}, Patience(wait=False))
    # Once to plan, once before each of two steps, once to see what came of it.
    assert host.reads == 4
