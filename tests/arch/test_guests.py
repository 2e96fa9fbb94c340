# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests of other architectures that boot Linux, emulated: what is declared of them is what their MemTotal has.

Each begins as a plain guest, which the collection makes ready. They take long, so only `make test-arch` boots them.
"""

from __future__ import annotations

import json
import os
import typing as t

import pytest
from faultlab import MIB, Answer, Lab, Runner, until
from foreign import KINDS, booting

pytestmark = pytest.mark.skipif(os.environ.get("VIRTMEM_LABS") != "all", reason="`make test-arch` boots them")
# An emulated guest needs time to boot, and to answer.
BOOT = 180.0
PATIENCE: dict[str, t.Any] = {"wait_timeout": 120}


def total(lab: Lab, name: str) -> int | None:
    """The guest's own MemTotal, None while it is mute."""
    process = lab.start("guestinfo", name)
    output, _errors = process.communicate()
    return int(json.loads(output)["mem_total"]) if process.returncode == 0 else None


def has(lab: Lab, name: str, size: int) -> None:
    """The guest has so much, give or take what its kernel needs for a memory map."""
    until(lambda: abs((total(lab, name) or 0) - size) <= 8 * MIB, f"MemTotal of {size // MIB} MiB", 60)


@pytest.fixture
def up(lab: Lab, run: Runner, kind: str) -> t.Iterator[tuple[str, int]]:
    """A guest of the kind that was made ready and booted, and its MemTotal."""
    with booting(lab, kind, KINDS[kind]) as name:
        ready: dict[str, t.Any] = {"name": name, "max_memory": "4GiB", "slots": 4}
        if KINDS[kind].arch == "aarch64":
            ready["spare_ports"] = 2
        run("memory_layout", domains=[ready]).end().is_green(changed=True)
        lab.virsh("start", name)
        until(lambda: total(lab, name), "the guest's first word", BOOT)
        run("memory_layout", domains=[ready]).end().is_green(changed=False)
        yield name, total(lab, name) or 0


def twice(run: Runner, **options: t.Any) -> Answer:
    """A task that changes something, and nothing when it is repeated."""
    plan = run(check=True, **options).end().is_green(changed=True)
    answer = run(**options, **PATIENCE).end().is_green(changed=True)
    assert answer.output["steps"] == plan.output["steps"]
    assert not answer.output["restart_required"], answer.text
    run(**options, **PATIENCE).end().is_green(changed=False)
    return answer


@pytest.mark.parametrize("kind", ["arm"])
def test_a_virtio_mem_device_of_aarch64(lab: Lab, run: Runner, up: tuple[str, int]) -> None:
    name, boot = up
    device: dict[str, t.Any] = {"domain": name, "alias": "ua-vm0"}
    twice(run, **device, model="virtio-mem", size="1GiB", requested="512MiB")
    has(lab, name, boot + 512 * MIB)
    twice(run, **device, requested="66MiB")
    has(lab, name, boot + 66 * MIB)
    twice(run, **device, state="absent")
    has(lab, name, boot)
    assert lab.devices(name, "live") == lab.devices(name, "config") == {}


@pytest.mark.parametrize("kind", ["pseries"])
def test_a_dimm_of_pseries(lab: Lab, run: Runner, up: tuple[str, int]) -> None:
    """Without ACPI, which libvirt refuses there."""
    name, boot = up
    device: dict[str, t.Any] = {"domain": name, "alias": "ua-dimm0"}
    twice(run, **device, model="dimm", size="512MiB")
    has(lab, name, boot + 512 * MIB)
    twice(run, **device, state="absent")
    has(lab, name, boot)
    assert lab.devices(name, "live") == lab.devices(name, "config") == {}


def test_a_dimm_of_aarch64_brings_acpi_along(lab: Lab, run: Runner) -> None:
    dimm = {"alias": "ua-dimm0", "model": "dimm", "size": "512MiB"}
    with booting(lab, "arm-uefi", KINDS["arm-uefi"]) as name:
        declared = {"name": name, "max_memory": "4GiB", "slots": 4, "devices": [dimm]}
        run("memory_layout", domains=[declared]).end().is_green(changed=True)
        lab.virsh("start", name)
        until(lambda: total(lab, name), "the guest's first word", BOOT)
        with_dimm = total(lab, name) or 0
        assert with_dimm > 1400 * MIB
        twice(run, domain=name, alias="ua-dimm0", state="absent")
        has(lab, name, with_dimm - 512 * MIB)
        twice(run, domain=name, alias="ua-dimm1", model="dimm", size="256MiB")
        has(lab, name, with_dimm - 256 * MIB)


@pytest.mark.parametrize("kind", ["s390"])
def test_a_guest_without_the_driver_is_red_with_the_reason(lab: Lab, run: Runner, up: tuple[str, int]) -> None:
    """Debian's kernel for s390x has none; libvirt and QEMU plug the device all the same."""
    name, boot = up
    options: dict[str, t.Any] = {"domain": name, "alias": "ua-vm0", "model": "virtio-mem", "size": "1GiB"}
    answer = run(**options, requested="512MiB", wait_timeout=20).end().failed_with("not_converged")
    assert answer.output["details"]["diagnosis"] == "no_response"
    assert "virtio_mem" in answer.output["hint"]
    assert lab.requested(name) == 512 * MIB
    has(lab, name, boot)
