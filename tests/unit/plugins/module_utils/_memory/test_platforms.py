# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What guests of other architectures, machines and firmware can have, as plans are made for them."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory import models, platforms, support
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.around import Around
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Declaration, Definition, Wish
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, KIB, MIB
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.support import Versions
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.xml import reading
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _planning as planning

NEWEST = Versions(libvirt=12_008_000, hypervisor=11_001_000)
PSERIES, S390, ARM = "pseries-11.1", "s390-ccw-virtio-11.1", "virt-11.1"
VM = Wish(alias="ua-vm0", model="virtio-mem", size=GIB, requested=0)
DIMM = Wish(alias="ua-dimm0", model="dimm", size=GIB)
NVDIMM = Wish(alias="ua-nv0", model="nvdimm", size=GIB, path="/dev/dax0.0")
PMEM = Wish(alias="ua-pm0", model="virtio-pmem", size=GIB, path="/var/lib/pm0")


def guest(arch: str, machine: str = "", *, uefi: bool = False, emulated: bool = True, **values: t.Any) -> Definition:
    around = Around(machine=machine, emulated=emulated, has_uefi=uefi)
    return helpers.definition(arch=arch, around=around, **values)


def why_not(definition: Definition, *wishes: Wish, versions: Versions = NEWEST, **more: t.Any) -> VirtmemError | None:
    try:
        planning.declared(helpers.domain(None, definition), Declaration(wishes, **more), versions)
    except VirtmemError as error:
        return error
    return None


def code(definition: Definition, *wishes: Wish, **more: t.Any) -> str | None:
    problem = why_not(definition, *wishes, **more)
    return None if problem is None else problem.error_code


@pytest.mark.parametrize(
    ("arch", "machine", "has_them"),
    [
        ("x86_64", "pc-q35-10.0", {"dimm", "nvdimm", "virtio-mem", "virtio-pmem", "sgx-epc"}),
        ("x86_64", "pc-i440fx-rhel7.6.0", {"dimm", "nvdimm", "virtio-mem", "virtio-pmem", "sgx-epc"}),
        ("x86_64", "ubuntu-q35", {"dimm", "nvdimm", "virtio-mem", "virtio-pmem", "sgx-epc"}),
        ("x86_64", "microvm", set()),
        ("aarch64", ARM, {"dimm", "nvdimm", "virtio-mem"}),
        ("aarch64", "raspi3b", set()),
        ("ppc64le", PSERIES, {"dimm", "nvdimm"}),
        ("ppc64", "powernv9", set()),
        ("s390x", S390, {"virtio-mem"}),
        ("riscv64", "virt", set()),
        ("loongarch64", "virt", {"dimm", "nvdimm", "virtio-mem", "virtio-pmem"}),  # not tried: libvirt decides
    ],
)
def test_each_platform_has_its_models(arch: str, machine: str, has_them: set[str]) -> None:
    definition = guest(arch, machine)
    assert set(support.on_platform(definition.platform, NEWEST)) == has_them
    for model in models.MODELS:
        problem = support.lacking_on(model, definition, NEWEST)
        assert (problem is None) == (model in has_them)
        if problem is not None:
            assert problem.error_code == "unsupported"
            assert machine in problem.msg
            assert set(problem.details["models"]) == has_them
            assert all(other in problem.msg for other in has_them)


def test_a_model_that_is_not_there_is_refused_before_anything_is_planned() -> None:
    assert code(guest("ppc64le", PSERIES), VM) == "unsupported"
    assert code(guest("s390x", S390, cells=()), DIMM) == "unsupported"
    assert code(guest("aarch64", ARM), PMEM) == "unsupported"
    plain = guest("riscv64", "virt", max_memory=None, cells=())
    assert code(plain, max_memory=16 * GIB) == "unsupported"
    # Nor by way of the guest's memory in all, for which a device would be made.
    assert code(guest("ppc64le", PSERIES), memory=4 * GIB) == "unsupported"


@pytest.mark.parametrize(
    ("arch", "machine", "versions", "error_code"),
    [
        ("s390x", S390, NEWEST, None),
        ("s390x", S390, helpers.BOOKWORM, "unsupported"),
        ("aarch64", ARM, helpers.BOOKWORM, None),
        ("aarch64", ARM, Versions(9_000_000, 6_002_000), "unsupported"),
    ],
)
def test_virtio_mem_came_later_to_some(arch: str, machine: str, versions: Versions, error_code: str | None) -> None:
    assert code(guest(arch, machine, cells=() if arch == "s390x" else (0,)), VM, versions=versions) == error_code


def test_where_nothing_can_be_had_no_room_is_made_for_it() -> None:
    """libvirt 9.0 refuses an s390x guest with maxMemory in words about NUMA nodes."""
    plain = guest("s390x", S390, max_memory=None, cells=())
    assert code(plain, max_memory=16 * GIB, versions=helpers.BOOKWORM) == "unsupported"
    assert code(plain, max_memory=16 * GIB) is None


# --- ACPI


def test_a_pseries_guest_plugs_modules_without_acpi() -> None:
    plain = guest("ppc64le", PSERIES, acpi=False, max_memory=None, cells=())
    assert code(guest("ppc64le", PSERIES, acpi=False), DIMM) is None
    plan = planning.declared(helpers.domain(None, plain), Declaration((DIMM,), max_memory=16 * GIB), NEWEST)
    assert [step.ready.acpi for step in plan.steps if step.ready] == [False]


@pytest.mark.parametrize("uefi", [False, True])
def test_an_arm_guest_has_acpi_from_its_firmware(uefi: bool) -> None:
    plain = guest("aarch64", ARM, uefi=uefi, acpi=False, max_memory=None, cells=())
    problem = why_not(plain, DIMM, max_memory=16 * GIB)
    if uefi:
        assert problem is None
    else:
        assert problem is not None
        assert problem.error_code == "no_acpi"
        assert "<os firmware='efi'>" in problem.hint
    assert code(plain, VM, max_memory=16 * GIB) is None


@pytest.mark.parametrize(
    ("os", "has_uefi"),
    [
        ("<os firmware='efi'>{}</os>", True),
        ("<os>{}<loader readonly='yes' type='pflash'>/usr/share/AAVMF/AAVMF_CODE.fd</loader></os>", True),
        ("<os firmware='bios'>{}</os>", False),
        ("<os>{}</os>", False),
    ],
)
def test_firmware_and_emulation_are_read(os: str, has_uefi: bool) -> None:
    kind = "<type arch='aarch64' machine='virt-11.1'>hvm</type>"
    for word, emulated in (("qemu", True), ("kvm", False)):
        xml = f"<domain type='{word}'><memory>1048576</memory>{os.format(kind)}<devices/></domain>"
        around = reading.read_definition(xml).around
        assert (around.has_uefi, around.emulated) == (has_uefi, emulated)


# --- NUMA, blocks, labels


def test_a_pseries_guest_without_numa_takes_a_dimm_without_a_node_until_libvirt_adds_the_cell() -> None:
    plain = guest("ppc64le", PSERIES, acpi=False, cells=())
    (step,) = planning.planned(helpers.domain(None, plain), DIMM, versions=helpers.BOOKWORM).steps
    assert step.after is not None
    assert step.after.node is None
    with_cell = guest("ppc64le", PSERIES, acpi=False)
    (step,) = planning.planned(helpers.domain(None, with_cell), DIMM, versions=NEWEST).steps
    assert step.after is not None
    assert step.after.node == 0


@pytest.mark.parametrize(("emulated", "block"), [(True, 2 * MIB), (False, MIB)])
def test_the_block_of_s390_is_the_hosts_huge_page(emulated: bool, block: int) -> None:
    definition = guest("s390x", S390, cells=(), emulated=emulated)
    (step,) = planning.planned(helpers.domain(None, definition), VM, versions=NEWEST).steps
    assert step.after is not None
    assert (step.after.block, step.after.node) == (block, None)
    small = Wish(alias="ua-vm0", model="virtio-mem", size=GIB, requested=0, block=MIB)
    assert code(definition, small) == ("invalid_block" if emulated else None)


@pytest.mark.parametrize(
    ("size", "label", "error_code", "names"),
    [
        (256 * MIB + 128 * KIB, 128 * KIB, None, []),
        (512 * MIB + MIB, MIB, None, []),
        (512 * MIB, 128 * KIB, "not_aligned", ["262272KiB", "524416KiB"]),
        (100 * MIB, 128 * KIB, "not_aligned", ["262272KiB"]),
        (512 * MIB, None, "missing_option", ["label_size", "256MiB"]),
    ],
)
def test_the_nvdimm_of_pseries_is_whole_units_and_a_label(
    size: int, label: int | None, error_code: str | None, names: list[str]
) -> None:
    wish = Wish(alias="ua-nv0", model="nvdimm", size=size, path="/dev/dax0.0", label_size=label)
    problem = why_not(guest("ppc64le", PSERIES, acpi=False), wish)
    assert (problem and problem.error_code) == error_code
    for name in names:
        assert problem is not None
        assert name in f"{problem.msg} {problem.hint}"


def test_other_guests_need_no_label() -> None:
    assert code(guest("aarch64", ARM, uefi=True), NVDIMM) is None


def test_a_row_has_all_its_features() -> None:
    known = {platforms.OTHER, *(row.name for row in platforms.PLATFORMS)}
    for row in models.MODELS.values():
        assert set(row.platforms) <= known
        assert {feature for feature in row.platforms.values() if feature != models.ALWAYS} <= set(support.NEEDS)
