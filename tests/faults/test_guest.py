# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests that don't do what they are asked."""

from __future__ import annotations

import typing as t

import pytest
from conftest import virtio_mem
from faultlab import ALIAS, MIB, Lab, Runner, until

DIMM: dict[str, t.Any] = {"alias": "ua-dimm0"}
NEW_DIMM: dict[str, t.Any] = {**DIMM, "model": "dimm", "size": "256MiB", "node": 0}


def test_no_answer(lab: Lab, run: Runner, idle: str) -> None:
    answer = run(domain=idle, alias=ALIAS, requested="128MiB", wait_timeout=2).end().failed_with("not_converged")
    answer.within(2).tells_truth(lab)
    assert answer.output["details"]["diagnosis"] == "no_response"
    assert answer.output["details"]["shortfall"] == 128 * MIB

    run(domain=idle, **NEW_DIMM).end().is_green(changed=True).tells_truth(lab, "ua-dimm0")
    answer = run(domain=idle, **DIMM, state="absent", wait_timeout=2).end().failed_with("not_converged")
    answer.within(2).tells_truth(lab, "ua-dimm0")
    # Until the guest has given it back, it stays in the configuration too.
    assert lab.device(idle, "live", "ua-dimm0")
    assert lab.device(idle, "config", "ua-dimm0")
    # A new start is the way out that the documentation gives.
    run(domain=idle, **DIMM, state="absent", scope="config").end().is_green(changed=True)
    lab.virsh("destroy", idle)
    lab.virsh("start", idle)
    run(domain=idle, **DIMM, state="absent").end().is_green(changed=False).tells_truth(lab, "ua-dimm0")


def test_no_driver(lab: Lab, run: Runner) -> None:
    with lab.guest("driverless", "--kind", "nodriver", "--device", virtio_mem()) as name:
        answer = run(domain=name, alias=ALIAS, requested="128MiB", wait_timeout=4).end().failed_with("not_converged")
        answer.within(4).tells_truth(lab)
        assert answer.output["details"]["diagnosis"] == "no_response"
        assert "virtio_mem" in answer.output["hint"]
        # Nothing has come, so taking it back needs no answer.
        run(domain=name, alias=ALIAS, requested="0B", wait_timeout=4).end().is_green(changed=True).tells_truth(lab)


def test_pinned_memory(lab: Lab, run: Runner) -> None:
    with lab.guest("pinned", "--kind", "pinned", "--device", virtio_mem()) as name:
        run(domain=name, alias=ALIAS, requested="512MiB", wait_timeout=60).end().is_green()
        until(lambda: lab.holds_memory(name), "the pinning", 60)
        answer = run(domain=name, alias=ALIAS, requested="0B", wait_timeout=25).end().failed_with("not_converged")
        answer.within(25)
        assert answer.output["details"]["diagnosis"] in ("stalled", "progressing")
        assert 0 < answer.output["details"]["current"] < 512 * MIB
        assert lab.requested(name) == lab.requested(name, "config") == 0
        # Asking for no less than what can't be had is the way out.
        run(domain=name, alias=ALIAS, requested="512MiB", wait_timeout=60).end().is_green(changed=True)


@pytest.mark.quick
def test_memory_onlined_unmovable(lab: Lab, run: Runner) -> None:
    with lab.guest("unmovable", "--kind", "unmovable") as name:
        run(domain=name, **NEW_DIMM).end().is_green(changed=True)
        until(lambda: lab.holds_memory(name), "the kernel's use of it", 60)
        answer = run(domain=name, **DIMM, state="absent", wait_timeout=60).end().failed_with("guest_rejected_unplug")
        answer.tells_truth(lab, "ua-dimm0")
        assert lab.device(name, "live", "ua-dimm0")
        assert lab.device(name, "config", "ua-dimm0")
        run(domain=name, **NEW_DIMM).end().is_green(changed=False)


def test_a_shrink_of_unmovable_memory(lab: Lab, run: Runner) -> None:
    with lab.guest("unmovable", "--kind", "unmovable", "--device", virtio_mem()) as name:
        run(domain=name, alias=ALIAS, requested="512MiB", wait_timeout=60).end().is_green()
        until(lambda: lab.holds_memory(name), "the kernel's use of it", 60)
        answer = run(domain=name, alias=ALIAS, requested="0B", wait_timeout=8).end().failed_with("not_converged")
        answer.within(8)
        assert lab.requested(name) == lab.requested(name, "config") == 0
        run(domain=name, alias=ALIAS, requested="512MiB", wait_timeout=60).end().is_green(changed=True)


def test_a_pinned_dimm_is_never_answered(lab: Lab, run: Runner) -> None:
    with lab.guest("pinned", "--kind", "pinned") as name:
        run(domain=name, **{**NEW_DIMM, "size": "512MiB"}).end().is_green(changed=True)
        until(lambda: lab.holds_memory(name), "the pinning", 60)
        answer = run(domain=name, **DIMM, state="absent", wait_timeout=5).end()
        answer.failed_with("not_converged").within(5).tells_truth(lab, "ua-dimm0")
        assert lab.device(name, "config", "ua-dimm0")


def test_a_reset_while_another_guest_is_waited_for(lab: Lab, run: Runner, guest: str, idle: str) -> None:
    devices = [{"alias": ALIAS, "requested": "256MiB"}]
    domains = [{"name": name, "devices": devices} for name in (guest, idle)]
    task = run("memory_layout", domains=domains, wait_timeout=15)
    until(lambda: (lab.device(guest, "live") or {}).get("current") == 256 * MIB, "the memory of the first guest")
    lab.virsh("suspend", guest)
    lab.virsh("reset", guest)
    answer = task.end().failed_with("domains_failed").within(15)
    assert lab.device(guest, "live") == {"size": 1024 * MIB, "requested": 256 * MIB, "current": 0}
    first, second = answer.output["domains"]
    assert [domain["failure"]["error_code"] for domain in (first, second)] == ["not_converged"] * 2
    assert first["failure"]["details"]["shortfall"] == 256 * MIB
    assert first["devices"][0]["converged"] is False
    # The next task waits for it, and ends when the guest has booted again.
    lab.virsh("resume", guest)
    run(domain=guest, alias=ALIAS, requested="256MiB", wait_timeout=60).end().is_green(changed=False).tells_truth(lab)
