# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What makes a domain able to take memory devices: how much is lacking, that nothing else changes, what is refused."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import (
    ABSENT,
    CONFIG,
    Declaration,
    Definition,
    Domain,
    Readiness,
    Wish,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, KIB, MIB
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.support import Versions
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.xml import reading, writing
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _planning as planning
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils._memory._elements import facts

VM = Wish(alias="ua-vm0", model="virtio-mem", size=4 * GIB, requested=GIB)
DIMM = Wish(alias="ua-d0", model="dimm", size=GIB)


def plain(**values: t.Any) -> Definition:
    """A domain as most tools make it: no maxMemory, no slots, no NUMA."""
    usual: dict[str, t.Any] = {"max_memory": None, "slots": 0, "cells": (), "free_ports": 3, "processors": 4}
    return helpers.definition(**{**usual, **values})


def stopped(definition: Definition) -> Domain:
    """A domain that is off."""
    return helpers.domain(config=definition)


def lacking(
    definition: Definition, *wishes: Wish, versions: Versions = helpers.BOOKWORM, **readiness: t.Any
) -> Readiness:
    """What the plan adds, in however many steps."""
    plan = planning.declared(stopped(definition), Declaration(wishes, **readiness), versions)
    found = [step.ready for step in plan.steps if step.ready is not None]
    assert len(found) <= 1
    return found[0] if found else Readiness()


def refused(definition: Definition, *wishes: Wish, versions: Versions = helpers.BOOKWORM, **readiness: t.Any) -> t.Any:
    """Why it can't be."""
    with pytest.raises(VirtmemError) as caught:
        planning.declared(stopped(definition), Declaration(wishes, **readiness), versions)
    return caught.value


@pytest.mark.parametrize("versions", [helpers.BOOKWORM, helpers.TRIXIE])
def test_a_plain_domain_gets_a_limit_and_a_cell_with_all_that_it_has(versions: Versions) -> None:
    found = lacking(plain(), VM, versions=versions, max_memory=16 * GIB)
    assert found.max_memory == 16 * GIB
    assert (found.cell_memory, found.cell_processors) == (GIB, 4)
    # libvirt before 9.5 demands slots beside the limit, and later ones need none for this model.
    assert found.slots == (16 if versions is helpers.BOOKWORM else None)
    assert not found.acpi
    assert found.ports == 0


def test_a_domain_that_has_all_of_it_lacks_nothing() -> None:
    ready = plain(max_memory=16 * GIB, slots=8, cells=(0,), acpi=True)
    assert lacking(ready, max_memory=16 * GIB, slots=8, spare_ports=3) == Readiness()
    assert lacking(ready) == Readiness()


@pytest.mark.parametrize(
    ("arch", "versions", "has_one"),
    [
        ("s390x", helpers.TRIXIE, False),
        ("ppc64le", helpers.BOOKWORM, False),
        ("ppc64le", helpers.TRIXIE, True),  # libvirt 9.6 and later add it there too
        ("aarch64", helpers.BOOKWORM, True),
    ],
)
def test_a_cell_is_made_where_one_is_needed_or_comes_by_itself(arch: str, versions: Versions, has_one: bool) -> None:
    made = lacking(plain(arch=arch), max_memory=16 * GIB, versions=versions).cell_memory
    assert made == (GIB if has_one else None)


def test_the_limit_never_goes_below_what_the_devices_need() -> None:
    with_device = plain(max_memory=16 * GIB, slots=16, cells=(0,))
    assert lacking(with_device, VM, max_memory=2 * GIB).max_memory == 5 * GIB
    # In whole MiB, as a running guest has it; else it would be a reason for a restart for ever.
    odd = plain(total=GIB + 4 * KIB)
    assert lacking(odd, max_memory=MIB).max_memory == GIB + MIB


@pytest.mark.parametrize(
    ("ports", "wishes", "spare", "added"),
    [
        (3, (), 2, 0),
        (3, (), 5, 2),
        (0, (), 2, 2),
        (0, (VM,), 2, 3),
        (3, (VM,), 3, 1),
        (3, (VM,), 2, 0),
        (1, (VM, replace(VM, alias="ua-vm1")), 1, 2),
        (0, (DIMM,), 1, 1),
    ],
)
def test_ports_are_those_that_are_left_when_the_devices_are_in(
    ports: int, wishes: tuple[Wish, ...], spare: int, added: int
) -> None:
    found = lacking(plain(free_ports=ports), *wishes, max_memory=32 * GIB, spare_ports=spare)
    assert found.ports == added


def test_a_device_that_goes_leaves_its_port() -> None:
    definition = plain(free_ports=1, max_memory=16 * GIB, slots=16, cells=(0,))
    definition = definition.having(helpers.virtio_mem(alias="ua-old"))
    assert lacking(definition, Wish(alias="ua-old", state=ABSENT), spare_ports=1) == Readiness()


def test_acpi_comes_with_a_dimm_that_comes() -> None:
    without = plain(acpi=False)
    assert lacking(without, DIMM, max_memory=16 * GIB).acpi
    assert not lacking(without, VM, max_memory=16 * GIB).acpi
    assert not lacking(without, Wish(alias="ua-d0", model="dimm", state=ABSENT), max_memory=16 * GIB).acpi


@pytest.mark.parametrize(
    ("definition", "readiness", "error_code", "option"),
    [
        (plain(), {"slots": 4}, "missing_option", "slots"),
        (plain(), {"max_memory": GIB + KIB}, "not_aligned", "max_memory"),
        (plain(free_ports=None, port_room=None), {"spare_ports": 1}, "invalid_option", "spare_ports"),
        (plain(), {"max_memory": 8 * GIB, "slots": 0}, "no_free_slot", "slots"),
    ],
)
def test_what_can_not_be_is_refused(
    definition: Definition, readiness: dict[str, t.Any], error_code: str, option: str
) -> None:
    error = refused(definition, **readiness)
    assert error.error_code == error_code
    assert error.details["option"] == option
    assert error.msg.startswith(f"{option}: ")
    assert error.hint


def test_no_fewer_slots_than_the_devices_need() -> None:
    two = helpers.definition(helpers.dimm(alias="ua-a", slot=0), helpers.virtio_mem())
    assert refused(two, slots=1).details["needed"] == 2
    assert lacking(two, slots=2).slots == 2
    # Later libvirts count those that sit in a slot.
    assert lacking(two, slots=1, versions=helpers.TRIXIE).slots == 1
    assert refused(two, slots=0, versions=helpers.TRIXIE).details["needed"] == 1
    assert refused(helpers.definition(helpers.dimm(slot=3)), slots=3, versions=helpers.TRIXIE).details["needed"] == 4
    assert lacking(helpers.definition(), slots=0, versions=helpers.TRIXIE).slots == 0


def test_a_transient_domain_can_not_be_made_ready() -> None:
    with pytest.raises(VirtmemError) as caught:
        planning.declared(helpers.domain(helpers.definition()), Declaration(max_memory=32 * GIB))
    assert caught.value.error_code == "scope_unavailable"


def test_room_comes_before_the_device_and_goes_after_it() -> None:
    devices = [helpers.dimm(alias=f"ua-{name}", slot=slot, size=4 * GIB) for slot, name in enumerate("abc")]
    definition = helpers.definition(*devices, max_memory=16 * GIB, slots=3, free_ports=0)
    declaration = Declaration(
        (Wish(alias="ua-a", state=ABSENT), Wish(alias="ua-b", size=2 * GIB), VM, Wish(alias="ua-c", size=2 * GIB)),
        max_memory=GIB,
        slots=8,
        spare_ports=1,
    )
    plan = planning.declared(stopped(definition), declaration)
    # Slots and ports for the device that comes; the lower limit when nothing is above it any longer.
    ready = [(place, step.ready) for place, step in enumerate(plan.steps) if step.ready is not None]
    assert [item for _place, item in ready] == [Readiness(slots=8, ports=2), Readiness(max_memory=9 * GIB)]
    assert [place for place, _item in ready] == [1, len(plan.steps) - 1]


def test_a_running_domain_is_told_what_waits_for_the_restart_until_it_has_come() -> None:
    plan = planning.declared(
        helpers.domain(plain(), plain()), Declaration((VM,), max_memory=16 * GIB, slots=8, spare_ports=4)
    )
    assert {step.scope for step in plan.steps} == {CONFIG}
    told = " ".join(plan.restart_reasons)
    for words in ("maxMemory is none", "16GiB", "0 memory slots", "8", "3 free hot-plug ports", "next boot"):
        assert words in told
    then = planning.applied(helpers.domain(plain(), plain()), plan)
    again = planning.declared(then, Declaration((VM,), max_memory=16 * GIB, slots=8, spare_ports=4))
    assert (again.steps, again.restart_reasons) == ((), plan.restart_reasons)
    assert then.config is not None
    device = replace(then.config.devices[0], current=GIB)
    restarted = helpers.domain(then.config._replace(devices=(device,)), then.config)
    after = planning.declared(restarted, Declaration((VM,), max_memory=16 * GIB, slots=8, spare_ports=4))
    assert (after.steps, after.restart_reasons) == ((), ())


def test_a_live_attach_takes_its_port_in_the_reasons_of_the_first_run_too() -> None:
    ready = plain(max_memory=16 * GIB, slots=16, cells=(0,), free_ports=2)
    declaration = Declaration((VM,), spare_ports=2)
    first = planning.declared(helpers.domain(ready, ready), declaration)
    again = planning.declared(planning.applied(helpers.domain(ready, ready), first), declaration)
    assert [step.scope for step in first.steps if step.ready is None] == ["live", "config"]
    assert again.restart_reasons == first.restart_reasons
    assert "1 free hot-plug ports" in first.restart_reasons[0]


# --- in the XML

DOMAIN = """<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web2</name>
  <metadata><mine:note xmlns:mine='https://example.org/mine'>kept</mine:note></metadata>
  <memory unit='KiB'>2097152</memory>
  <currentMemory unit='KiB'>1048576</currentMemory>
  <vcpu placement='static'>4</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu mode='host-passthrough' check='none' migratable='on'/>
  <clock offset='utc'/>
  <devices>
    <controller type='pci' index='0' model='pcie-root'/>
    <controller type='pci' index='1' model='pcie-root-port'/>
    <graphics type='vnc' passwd='secret'/>
    <later><than when="this was written"/></later>
  </devices>
  <qemu:commandline><qemu:arg value='-nodefaults'/></qemu:commandline>
</domain>
"""
EVERYTHING = Readiness(max_memory=16 * GIB, slots=8, cell_memory=2 * GIB, cell_processors=4, ports=2, acpi=True)


def test_nothing_else_in_the_definition_changes() -> None:
    before, after = facts(DOMAIN), facts(writing.make_ready(DOMAIN, EVERYTHING))
    assert [fact for fact in before if fact not in after] == []
    added = {fact[0].split("/")[1] if "/" in fact[0] else fact[0] for fact in after if fact not in before}
    assert added <= {"maxMemory", "features", "cpu", "devices"}


def test_what_is_written_is_what_is_read() -> None:
    text = writing.make_ready(DOMAIN, EVERYTHING)
    for index in (2, 3):  # as libvirt numbers the ports that have no number yet
        text = text.replace('<controller type="pci" model', f'<controller type="pci" index="{index}" model', 1)
    definition = reading.read_definition(text)
    assert definition.max_memory == 16 * GIB
    assert (definition.slots, definition.cells, definition.cell_memory) == (8, (0,), 2 * GIB)
    assert definition.acpi
    assert definition.free_ports == 3
    assert EVERYTHING.applied(reading.read_definition(DOMAIN)) == definition


def test_the_step_shows_what_is_written() -> None:
    shown = writing.readiness(EVERYTHING)
    written = writing.make_ready(DOMAIN, EVERYTHING)
    for part in ('<cell id="0" cpus="0-3" memory="2097152" unit="KiB"/>', "<acpi/>", 'slots="8"'):
        assert part in shown
        assert part in written
    assert shown.count("pcie-root-port") == 2


def test_a_second_time_changes_not_a_letter() -> None:
    once = writing.make_ready(DOMAIN, EVERYTHING)
    assert writing.make_ready(once, Readiness()) == once
    limits = Readiness(max_memory=16 * GIB, slots=8, acpi=True)
    assert facts(writing.make_ready(once, limits)) == facts(once)


@pytest.mark.parametrize(("spare", "most"), [(300, 240), (241, 240), (65535, 240)])
def test_more_ports_than_the_root_takes_are_refused_by_name(spare: int, most: int) -> None:
    error = refused(plain(free_ports=3, port_room=237), max_memory=16 * GIB, spare_ports=spare)
    assert error.error_code == "invalid_option"
    assert error.details == {"option": "spare_ports", "value": spare, "needed": spare - 3, "room": 237}
    assert f"spare_ports: {most} or fewer" in error.hint
    assert lacking(plain(free_ports=3, port_room=237), max_memory=16 * GIB, spare_ports=most).ports == 237


def test_the_ports_of_new_devices_count_against_the_roots_room() -> None:
    error = refused(plain(free_ports=0, port_room=3), VM, max_memory=16 * GIB, spare_ports=3)
    assert error.details["needed"] == 4
    assert "spare_ports: 2 or fewer" in error.hint
