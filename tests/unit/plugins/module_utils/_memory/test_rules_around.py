# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands around the memory devices: read from the XML, judged before anything is stored, and by what is stored.

Whether QEMU starts with it was tried with 7.2 for each value that is called right or wrong here.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.around import Around, HugePages
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import (
    CONFIG,
    Declaration,
    Definition,
    Domain,
    Wish,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.inventory import sums
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.inventory.results import Selection
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.rules.around import check_address_bits
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.rules.definition import check_stored
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, KIB, MIB
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.xml import reading
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _planning as planning

VM = Wish(alias="ua-a", model="virtio-mem", size=4 * GIB, requested=GIB)
DIMM = Wish(alias="ua-d", model="dimm", size=GIB)


def read(inner: str = "", cpu: str = "", machine: str = "pc-q35-7.2", kind: str = "qemu", devices: str = "") -> Around:
    """What stands around the memory of a domain with these elements."""
    root = "pci-root" if "q35" not in machine else "pcie-root"
    return reading.read_definition(
        f"<domain type='{kind}'><memory unit='GiB'>1</memory>{inner}"
        f"<os><type arch='x86_64' machine='{machine}'>hvm</type></os>{cpu}"
        f"<devices><controller type='pci' index='0' model='{root}'/>{devices}</devices></domain>"
    ).around


def stopped(around: Around, *devices: t.Any, **values: t.Any) -> Domain:
    """A stopped domain with this around its memory."""
    return helpers.domain(config=helpers.definition(*devices, around=around, **values))


def refusal(domain: Domain, *wishes: Wish, **declared: t.Any) -> VirtmemError:
    """Why this can't be declared."""
    with pytest.raises(VirtmemError) as caught:
        planning.declared(domain, Declaration(wishes, **declared), helpers.TRIXIE)
    assert caught.value.hint
    return caught.value


# --- pages

PAGES = "<memoryBacking><hugepages>{}</hugepages></memoryBacking>"
GIGANTIC = PAGES.format("<page size='1048576' unit='KiB'/>")


@pytest.mark.parametrize(
    ("inner", "of_cells"),
    [
        ("", [None, None]),
        (GIGANTIC, [GIB, GIB]),
        (PAGES.format("<page size='2' unit='MiB' nodeset='1'/>"), [None, 2 * MIB]),
        (PAGES.format("<page size='2048'/><page size='1' unit='G' nodeset='0,2'/>"), [GIB, 2 * MIB]),
        (PAGES.format(""), [None, None]),
    ],
)
def test_a_device_gets_the_pages_of_its_cell(inner: str, of_cells: list[int | None]) -> None:
    around = read(inner)
    assert [around.page_of(cell) for cell in (0, 1)] == of_cells
    assert around.page_of(None) == of_cells[0]


@pytest.mark.parametrize(
    ("wish", "block"),
    [
        (VM, GIB),
        (replace(VM, pagesize=4 * KIB), 2 * MIB),
        (replace(VM, pagesize=2 * MIB), 2 * MIB),
        (replace(VM, block=2 * GIB, requested=2 * GIB), 2 * GIB),
    ],
)
def test_a_block_is_never_smaller_than_the_page(wish: Wish, block: int) -> None:
    (step,) = planning.planned(stopped(read(GIGANTIC)), wish, versions=helpers.TRIXIE).steps
    assert step.after is not None
    assert step.after.block == block


@pytest.mark.parametrize(
    ("wish", "code", "words"),
    [
        (replace(VM, block=2 * MIB), "invalid_block", "block: 2MiB is smaller than 1GiB, the page"),
        (replace(VM, requested=512 * MIB), "not_aligned", "requested: 512MiB is not a multiple of 1GiB"),
        (replace(DIMM, size=1536 * MIB), "not_aligned", "size: 1536MiB is not a multiple of 1GiB, the page"),
    ],
)
def test_what_the_pages_of_the_domain_do_not_take(wish: Wish, code: str, words: str) -> None:
    problem = refusal(stopped(read(GIGANTIC)), wish)
    assert problem.error_code == code
    assert words in problem.msg
    # The pages of the device itself say the same.
    own = refusal(stopped(read()), replace(wish, pagesize=GIB))
    assert own.error_code == code


def test_what_was_stored_with_smaller_blocks_than_pages_is_drift() -> None:
    device = helpers.virtio_mem()
    for around, code in ((read(), None), (read(GIGANTIC), "invalid_block")):
        definition = helpers.definition(device, around=around)
        problem = check_stored(definition, definition.devices[0], helpers.TRIXIE)
        assert (problem and problem.error_code) == code
    told = sums.describe(stopped(read(GIGANTIC), device), Selection(), helpers.TRIXIE)
    assert [item["kind"] for item in told["drift"]] == ["next_boot"]


# --- settings that exclude a device


@pytest.mark.parametrize(
    ("inner", "element"),
    [
        ("<memoryBacking><locked/></memoryBacking>", "<locked/>"),
        ("<launchSecurity type='sev'><policy>0x1</policy></launchSecurity>", "<launchSecurity type='sev'>"),
        ("<launchSecurity type='s390-pv'/>", "<launchSecurity type='s390-pv'>"),
    ],
)
def test_what_excludes_virtio_mem_is_named(inner: str, element: str) -> None:
    around = read(inner)
    problem = refusal(stopped(around), VM)
    assert problem.error_code == "conflicting_setting"
    assert element in problem.msg
    assert element in problem.details["element"]
    assert planning.planned(stopped(around), DIMM, versions=helpers.TRIXIE).steps
    # It is stored already: the next start fails.
    (found,) = sums.describe(stopped(around, helpers.virtio_mem()), Selection(), helpers.TRIXIE)["drift"]
    assert (found["kind"], found["config"]["error_code"]) == ("next_boot", "conflicting_setting")


# --- limits


@pytest.mark.parametrize(
    ("wish", "fits"),
    [
        (replace(VM, requested=512 * MIB), True),
        (replace(VM, requested=GIB), False),
        (replace(DIMM, size=512 * MIB), True),
        (DIMM, False),
    ],
)
def test_a_guest_is_not_given_more_than_its_hard_limit(wish: Wish, fits: bool) -> None:
    around = read("<memtune><hard_limit unit='MiB'>1600</hard_limit></memtune>")
    domain = helpers.domain(helpers.definition(around=around), helpers.definition(around=around))
    if fits:
        assert planning.planned(domain, wish, versions=helpers.TRIXIE).steps
        return
    problem = refusal(domain, wish)
    assert problem.error_code == "conflicting_setting"
    assert problem.details["limit"] == 1600 * MIB
    assert problem.details["needed"] == 2 * GIB
    assert "1600MiB" in problem.msg
    assert "2GiB" in problem.msg


def test_who_is_beyond_the_limit_already_may_shrink() -> None:
    around = read("<memtune><hard_limit unit='MiB'>1600</hard_limit></memtune>")
    domain = stopped(around, helpers.virtio_mem(requested=3 * GIB))
    assert planning.planned(domain, Wish(alias="ua-vm0", requested=2 * GIB)).steps


@pytest.mark.parametrize(
    ("model", "gib", "slots", "fits"),
    [
        ("qemu64", 900, 16, True),
        ("qemu64", 960, 16, True),
        ("qemu64", 961, 16, False),
        ("qemu64", 1000, 16, False),
        ("qemu64", 988, 1, False),
        ("qemu64", 4096, 16, False),
        ("Nehalem", 961, 16, True),
        ("Nehalem", 972, 16, True),
        ("Nehalem", 988, 16, False),
    ],
)
def test_max_memory_is_what_the_processor_can_reach(model: str, gib: int, slots: int, fits: bool) -> None:
    domain = stopped(read(cpu=f"<cpu><model>{model}</model></cpu>"), total=512 * MIB)
    declaration = Declaration(max_memory=gib * GIB, slots=slots)
    if fits:
        assert planning.declared(domain, declaration).steps
        return
    problem = refusal(domain, max_memory=gib * GIB, slots=slots)
    assert problem.error_code == "invalid_option"
    assert problem.details["address_bits"] == 40
    # What it says instead does fit.
    assert planning.declared(domain, declaration._replace(max_memory=problem.details["most"])).steps


@pytest.mark.parametrize(
    ("cpu", "kind", "bits"),
    [
        ("<cpu mode='custom'><model>qemu64</model></cpu>", "qemu", 40),
        ("<cpu><maxphysaddr mode='emulate' bits='46'/></cpu>", "kvm", 46),
        ("<cpu mode='host-passthrough'/>", "kvm", None),
        ("<cpu mode='host-model'><maxphysaddr mode='passthrough'/></cpu>", "kvm", None),
        ("<cpu mode='custom'><model>Skylake-Server</model></cpu>", "kvm", None),
        ("", "qemu", 40),
    ],
)
def test_the_bits_of_the_processor_are_known_or_the_hosts(cpu: str, kind: str, bits: int | None) -> None:
    around = read(cpu=cpu, kind=kind)
    assert around.address_bits == bits
    definition = helpers.definition(around=around)
    problem = check_address_bits(definition, 4096 * GIB, 16)
    assert (problem is None) == (bits != 40)


# --- places


@pytest.mark.parametrize(
    ("machine", "boot", "base", "fits"),
    [
        ("pc-q35-7.2", 512, 4 * GIB, True),
        ("pc-q35-7.2", 512, 3 * GIB, False),
        ("pc-q35-7.2", 512, 4 * GIB + 512 * MIB, True),
        ("pc-q35-7.2", 3072, 4 * GIB, False),
        ("pc-q35-7.2", 3072, 5 * GIB, True),
        ("pc-q35-7.2", 2048, 4 * GIB, True),
        ("pc-q35-7.2", 4096, 5 * GIB, False),
        ("pc-q35-7.2", 4096, 6 * GIB, True),
        ("pc-i440fx-7.2", 3072, 4 * GIB, True),
        ("pc-i440fx-7.2", 4096, 4 * GIB, False),
        ("pc-i440fx-7.2", 4096, 5 * GIB, True),
        ("pc-q35-7.2", 512, 0x7E0000000 + 4 * GIB, False),
    ],
)
def test_a_base_is_in_the_range_for_devices(machine: str, boot: int, base: int, fits: bool) -> None:
    domain = stopped(read(machine=machine), total=boot * MIB)
    wish = replace(DIMM, base=base, slot=0)
    if fits:
        assert planning.planned(domain, wish).steps
        return
    problem = refusal(domain, wish)
    assert problem.error_code == "invalid_option"
    assert f"base: {base:#x}" in problem.msg
    assert f"{problem.details['begin']:#x}" in problem.hint
    assert planning.planned(domain, replace(wish, base=problem.details["begin"])).steps


def test_a_base_gets_a_slot_beside_it() -> None:
    """libvirt takes none without (error 27), on all versions."""
    taken = helpers.dimm(alias="ua-x", slot=0, base=4 * GIB)
    domain = helpers.domain(helpers.definition(), helpers.definition(taken))
    plan = planning.planned(domain, replace(DIMM, base=6 * GIB), versions=helpers.TRIXIE)
    assert [(step.scope, step.after and step.after.slot, step.after and step.after.base) for step in plan.steps] == [
        ("live", 0, 6 * GIB),
        (CONFIG, 1, 6 * GIB),
    ]
    again = planning.planned(planning.applied(domain, plan), replace(DIMM, base=6 * GIB), versions=helpers.TRIXIE)
    assert again.steps == ()


# --- conventional PCI


def _pc(taken: t.Iterable[int], more: str = "") -> Definition:
    addresses = "".join(
        f"<interface type='user'><address type='pci' bus='0x00' slot='{slot:#x}' function='0x0'/></interface>"
        for slot in taken
    )
    return reading.read_definition(
        "<domain type='qemu' id='1'><memory unit='GiB'>1</memory><maxMemory slots='4' unit='GiB'>16</maxMemory><os>"
        "<type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type></os>"
        "<cpu><numa><cell id='0' cpus='0' memory='1' unit='GiB'/>"
        f"</numa></cpu><devices><controller type='pci' index='0' model='pci-root'/>{more}{addresses}</devices></domain>"
    )


@pytest.mark.parametrize(
    ("taken", "more", "free"),
    [
        ((), "", 30),
        ((3, 4), "", 28),
        ((0, 1, 2), "", 29),
        (range(2, 32), "", 0),
        (range(2, 32), "<controller type='pci' index='1' model='pci-bridge'/>", 31),
    ],
)
def test_the_slots_of_a_pc_are_counted(taken: t.Iterable[int], more: str, free: int) -> None:
    assert _pc(taken, more).free_ports == free


def test_a_pc_without_a_free_slot_gets_the_device_with_the_restart() -> None:
    live = _pc(range(2, 32))
    plan = planning.planned(helpers.domain(live, live._replace(active=False)), VM, versions=helpers.TRIXIE)
    assert [step.scope for step in plan.steps] == [CONFIG]
    assert "no free PCI slot" in plan.restart_reasons[0]
    assert len(planning.planned(helpers.domain(_pc([3]), _pc([3])), VM, versions=helpers.TRIXIE).steps) == 2


# --- what only shows


def test_the_rest_is_read_too() -> None:
    inner = (
        "<numatune><memory mode='strict' nodeset='0-1'/><memnode cellid='1' mode='strict' nodeset='3'/>"
        "<memnode cellid='0' mode='preferred' nodeset='0'/></numatune>"
        "<cpu><numa><cell id='0' cpus='0' memory='1'/><cell id='1' cpus='1' memory='1'/></numa></cpu>"
    )
    devices = "<hostdev mode='subsystem' type='pci'/><interface type='hostdev'/><hostdev mode='subsystem' type='usb'/>"
    around = read(inner, devices=devices)
    assert around.strict_nodes == {1: (3,)}
    assert around.passed_through == 2
    assert around.machine == "pc-q35-7.2"
    assert not around.is_pc
    assert read(machine="pc-i440fx-7.2").is_pc
    assert HugePages() in read(PAGES.format("")).huge_pages


# --- how it is read


@pytest.mark.parametrize(
    ("inner", "nodes"),
    [
        ("", {}),
        ("<memory nodeset='0-1'/>", {0: (0, 1), 1: (0, 1)}),  # strict unless it says otherwise
        ("<memory mode='strict' nodeset='1'/>", {0: (1,), 1: (1,)}),
        ("<memory mode='preferred' nodeset='1'/>", {}),
        ("<memory mode='strict' placement='auto'/>", {}),  # what numad chooses is not known
        ("<memnode cellid='1' mode='strict' nodeset='3'/>", {1: (3,)}),
        ("<memory nodeset='0'/><memnode cellid='1' mode='strict' nodeset='2'/>", {0: (0,), 1: (2,)}),
        ("<memory nodeset='0'/><memnode cellid='1' mode='preferred' nodeset='2'/>", {0: (0,)}),
        ("<memnode cellid='1' mode='preferred' nodeset='2'/>", {}),
    ],
)
def test_the_strict_nodes_of_each_cell(inner: str, nodes: dict[int, tuple[int, ...]]) -> None:
    cells = "<cpu><numa><cell id='0' memory='1'/><cell id='1' memory='1'/></numa></cpu>"
    assert read(f"<numatune>{inner}</numatune>", cells).strict_nodes == nodes


def test_cells_without_a_number_are_counted() -> None:
    cells = "<cpu><numa><cell memory='1'/><cell memory='1'/></numa></cpu>"
    assert read("<numatune><memory nodeset='0'/></numatune>", cells).strict_nodes == {0: (0,), 1: (0,)}


@pytest.mark.parametrize(
    ("kind", "inner", "bits"),
    [
        ("qemu", "", 40),
        ("kvm", "", None),
        ("qemu", "<cpu mode='host-passthrough'/>", None),
        ("qemu", "<cpu mode='maximum'/>", None),
        ("qemu", "<cpu mode='custom'><model>EPYC</model></cpu>", 40),
        ("kvm", "<cpu><maxphysaddr mode='emulate' bits='42'/></cpu>", 42),
        ("qemu", "<cpu><maxphysaddr mode='passthrough'/></cpu>", None),
    ],
)
def test_the_address_bits_of_a_guest(kind: str, inner: str, bits: int | None) -> None:
    xml = f"<domain type='{kind}'><os><type arch='x86_64' machine='q35'>hvm</type></os>{inner}</domain>"
    around = reading.read_definition(xml).around
    assert (around.address_bits, around.machine) == (bits, "q35")


@pytest.mark.parametrize(
    ("inner", "counted"),
    [("<hostdev type='pci'/><hostdev type='usb'/>", 1), ("<hostdev type='mdev'/><interface type='hostdev'/>", 2)],
)
def test_devices_of_the_host_that_are_passed_through(inner: str, counted: int) -> None:
    assert reading.read_definition(f"<domain><devices>{inner}</devices></domain>").around.passed_through == counted


@pytest.mark.parametrize(
    ("inner", "is_amd"),
    [
        ("", True),  # qemu64
        ("<cpu><model>EPYC-Rome</model></cpu>", True),
        ("<cpu><model>Skylake-Server</model></cpu>", False),
    ],
)
def test_whose_processor_a_guest_has(inner: str, is_amd: bool) -> None:
    assert reading.read_definition(f"<domain>{inner}</domain>").around.is_amd is is_amd


def free(controllers: str, devices: str = "") -> int | None:
    """How many places a machine with these PCI controllers has left."""
    return reading.read_definition(f"<domain><devices>{controllers}{devices}</devices></domain>").free_ports


def at(bus: int, slot: int) -> str:
    """A disk at this place of the guest."""
    return f"<disk><address type='pci' bus='{bus:#04x}' slot='{slot:#04x}'/></disk>"


CONVENTIONAL = "<controller type='pci' index='0' model='pci-root'/>"
BRIDGE = "<controller type='pci' index='1' model='pci-bridge'/>"


@pytest.mark.parametrize(
    ("controllers", "devices", "slots"),
    [
        (CONVENTIONAL, "", 30),  # two are the host bridge's and the chipset's
        (CONVENTIONAL, at(0, 5) + at(0, 1), 29),
        (CONVENTIONAL, at(3, 5), 30),  # on no bus of its own
        (CONVENTIONAL + BRIDGE, at(1, 4), 30 + 30),  # and the first of a bridge
        (CONVENTIONAL + "<controller type='pci' index='1' model='dmi-to-pci-bridge'/>", "", 30),
        (CONVENTIONAL.replace(" index='0'", ""), "", 30),
    ],
)
def test_the_free_slots_of_conventional_pci(controllers: str, devices: str, slots: int) -> None:
    assert free(controllers, devices) == slots


EXPRESS = "<controller type='pci' index='0' model='pcie-root'/>"
PORTS = "".join(f"<controller type='pci' index='{number}' model='pcie-root-port'/>" for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("controllers", "devices", "ports"),
    [
        ("", "", None),  # no PCI at all
        (EXPRESS, "", 0),
        (EXPRESS + PORTS, "", 3),
        (EXPRESS + PORTS, at(2, 0) + at(0, 4), 2),
        (EXPRESS + PORTS.replace("/>", "><target hotplug='off'/></controller>", 1), "", 2),
        (EXPRESS + PORTS.replace("/>", "><target hotplug='on'/></controller>", 1), "", 3),
        (EXPRESS + "<controller type='pci' index='4' model='pcie-switch-downstream-port'/>", "", 1),
        (EXPRESS + "<controller type='usb' index='1' model='pcie-root-port'/>", "", 0),
        # An address of the host's is none of the guest's.
        (EXPRESS + PORTS, "<hostdev><source><address type='pci' bus='0x02' slot='0x00'/></source></hostdev>", 3),
    ],
)
def test_the_free_ports_of_pci_express(controllers: str, devices: str, ports: int | None) -> None:
    assert free(controllers, devices) == ports


def test_the_memory_of_cells_in_any_unit() -> None:
    cells = "<cell memory='1048576'/><cell memory='2' unit='GiB'/><cell memory='1' unit='b'/>"
    found = reading.read_definition(f"<domain><cpu><numa>{cells}</numa></cpu></domain>")
    assert (found.cells, found.cell_sizes) == ((0, 1, 2), (GIB, 2 * GIB, 1024))
    assert found.cell_memory == 3 * GIB + 1024
