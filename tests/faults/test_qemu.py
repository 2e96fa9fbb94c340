# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can become of a guest while a task waits for it."""

from __future__ import annotations

import os
import signal
import socket
import time
import typing as t

import pytest
from conftest import virtio_mem
from faultlab import ALIAS, MIB, PROMPT, Answer, Lab, Runner, Task, until


def waiting(lab: Lab, run: Runner, name: str, timeout: int = 60) -> Task:
    """A task that has asked the guest, and waits."""
    task = run(domain=name, alias=ALIAS, requested="128MiB", wait_timeout=timeout)
    until(
        lambda: lab.requested(name) == 128 * MIB and lab.requested(name, "config") in (None, 128 * MIB), "the request"
    )
    time.sleep(0.5)
    return task


def soon(task: Task) -> Answer:
    """The answer, which must come long before the timeout."""
    began = time.monotonic()
    answer = task.end()
    assert time.monotonic() - began < PROMPT, answer.text
    return answer


# What is done to the guest, and what virsh says of it then.
ENDS: dict[str, t.Callable[[Lab, str], object]] = {
    "QEMU killed": lambda lab, name: os.kill(lab.qemu(name), signal.SIGKILL),
    "destroyed": lambda lab, name: lab.virsh("destroy", name),
    "saved": lambda lab, name: lab.virsh("managedsave", name),
}


SAMPLE = [pytest.mark.quick]


@pytest.mark.parametrize(
    "end",
    [pytest.param(end, id=name, marks=SAMPLE if name == "QEMU killed" else []) for name, end in ENDS.items()],
)
def test_a_guest_that_ends(lab: Lab, run: Runner, idle: str, end: t.Callable[[Lab, str], object]) -> None:
    task = waiting(lab, run, idle)
    end(lab, idle)
    answer = soon(task).failed_with("domain_stopped").tells_truth(lab)
    assert answer.output["domain"]["state"] == "shutoff"
    assert answer.device["live"] is None
    # What is declared is in the configuration, and with it in the next boot.
    run(domain=idle, alias=ALIAS, requested="128MiB").end().is_green(changed=False).tells_truth(lab)
    lab.virsh("start", idle)
    run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green().tells_truth(lab)
    assert lab.requested(idle) == lab.requested(idle, "config") == 128 * MIB


def test_a_transient_guest_that_ends(lab: Lab, run: Runner) -> None:
    with lab.guest("fleeting", "--kind", "empty", "--transient", "--device", virtio_mem()) as name:
        task = waiting(lab, run, name)
        lab.virsh("destroy", name)
        soon(task).failed_with("domain_vanished").tells_truth(lab)
        run(domain=name, alias=ALIAS, requested="128MiB").end().failed_with("domain_not_found")


def test_undefined(lab: Lab, run: Runner, idle: str) -> None:
    """The guest goes on as a transient one, and is all that there is to change."""
    task = waiting(lab, run, idle, timeout=3)
    lab.virsh("undefine", idle)
    answer = task.end().failed_with("not_converged").within(3).tells_truth(lab)
    assert answer.output["domain"]["persistent"] is False
    assert answer.device["config"] is None
    run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green(changed=False).tells_truth(lab)


def test_undefined_and_destroyed(lab: Lab, run: Runner, idle: str) -> None:
    task = waiting(lab, run, idle)
    lab.virsh("undefine", idle)
    lab.virsh("destroy", idle)
    soon(task).failed_with("domain_vanished", "domain_stopped").tells_truth(lab)
    run(domain=idle, alias=ALIAS, requested="128MiB").end().failed_with("domain_not_found")


def test_renamed(lab: Lab, run: Runner, idle: str) -> None:
    """libvirt renames no running domain, so it must have ended first."""
    task = waiting(lab, run, idle)
    try:
        lab.virsh("destroy", idle)
        lab.virsh("domrename", idle, "other")
        answer = soon(task).failed_with("domain_stopped")
        run(domain=answer.output["domain"]["uuid"], alias=ALIAS, requested="128MiB").end().is_green(changed=False)
        run(domain=idle, alias=ALIAS, requested="128MiB").end().failed_with("domain_not_found")
    finally:
        lab("delete", "other")


def test_paused(lab: Lab, run: Runner, guest: str) -> None:
    """Whoever paused it may resume it, so the task waits; and it says why it waited in vain."""
    lab.virsh("suspend", guest)
    answer = waiting(lab, run, guest, timeout=3).end().failed_with("not_converged").within(3).tells_truth(lab)
    assert answer.output["details"]["state"] == "paused"
    assert "virsh resume" in answer.output["hint"]
    task = run(domain=guest, alias=ALIAS, requested="128MiB", wait_timeout=60)
    time.sleep(1)
    assert task.runs()
    lab.virsh("resume", guest)
    task.end().is_green(changed=False).tells_truth(lab)


def test_reset(lab: Lab, run: Runner, guest: str) -> None:
    """The actual size falls to 0, and comes back with the driver."""
    run(domain=guest, alias=ALIAS, requested="64MiB", wait_timeout=60).end().is_green(changed=True)
    lab.virsh("suspend", guest)
    task = waiting(lab, run, guest, timeout=90)
    lab.virsh("reset", guest)
    lab.virsh("resume", guest)
    task.end().is_green(changed=True).tells_truth(lab)
    assert lab.device(guest, "live")["current"] == 128 * MIB  # type: ignore[index]


def test_reboot(lab: Lab, run: Runner) -> None:
    """By the guest itself, after a part of the memory has come."""
    with lab.guest("again", "--device", virtio_mem(size="4GiB"), "--append", "lab.reboot=2") as name:
        run(domain=name, alias=ALIAS, requested="128MiB", wait_timeout=60).end().is_green()
        time.sleep(3.5)  # in the middle of the boot
        answer = run(domain=name, alias=ALIAS, requested="128MiB", wait_timeout=90).end()
        answer.is_green(changed=False)
        assert answer.device["live"]["current"] == 128 * MIB


@pytest.mark.parametrize(("on_crash", "error_code"), [("destroy", "domain_stopped"), ("preserve", "domain_crashed")])
def test_panic(lab: Lab, run: Runner, on_crash: str, error_code: str) -> None:
    options = ("--panic-device", "--on-crash", on_crash, "--append", "panic=0", "--device", virtio_mem())
    with lab.guest("panics", *options) as name:
        lab.virsh("suspend", name)
        task = waiting(lab, run, name)
        lab.virsh("inject-nmi", name)
        lab.virsh("resume", name)
        answer = soon(task).failed_with(error_code)
        assert (answer.device["config"] or {})["requested"] == lab.requested(name, "config") == 128 * MIB
        if on_crash == "preserve":
            lab.virsh("destroy", name)
        lab.virsh("start", name)
        run(domain=name, alias=ALIAS, requested="128MiB", wait_timeout=90).end().is_green(changed=False)


def test_panic_that_restarts_the_guest(lab: Lab, run: Runner) -> None:
    options = ("--panic-device", "--on-crash", "restart", "--append", "panic=0", "--device", virtio_mem())
    with lab.guest("panics", *options) as name:
        lab.virsh("suspend", name)
        task = waiting(lab, run, name, timeout=90)
        lab.virsh("inject-nmi", name)
        lab.virsh("resume", name)
        # It may be seen as crashed before libvirt has restarted it; then the task is red.
        if task.end().error_code is not None:
            until(lambda: lab.state(name) == "running", "the restart")
        run(domain=name, alias=ALIAS, requested="128MiB", wait_timeout=90).end().is_green(changed=False)
        assert lab.requested(name) == lab.requested(name, "config") == 128 * MIB


@pytest.fixture
def elsewhere(lab: Lab) -> t.Iterator[Lab]:
    """A second hypervisor."""
    other = Lab(lab.folder.with_name(f"{lab.folder.name}-b"))
    other("up")
    yield other
    other("down")


def migrate(lab: Lab, other: Lab, name: str, *options: str) -> None:
    """Moves a running guest, whose console must be where the other hypervisor can write it."""
    places: list[str] = []
    for option, dump in (("--xml", "--migratable"), ("--persistent-xml", "--inactive")):
        xml = lab.virsh("dumpxml", dump, name).replace(f"{lab.place}/console", f"{other.place}/console")
        place = other.place / f"{name}{option}.xml"
        place.write_text(xml)
        places += [option, str(place)]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    there = ["--migrateuri", f"tcp://127.0.0.1:{port}", "--listen-address", "127.0.0.1"]
    lab.virsh("migrate", "--live", "--persistent", name, other.uri, *there, *places, *options)


@pytest.mark.parametrize(
    ("options", "error_code"),
    [
        pytest.param((), "domain_stopped", id="migrated away"),
        pytest.param(("--undefinesource",), "domain_vanished", id="migrated away for good"),
    ],
)
def test_migrated_away(
    lab: Lab, run: Runner, idle: str, elsewhere: Lab, options: tuple[str, ...], error_code: str
) -> None:
    task = waiting(lab, run, idle)
    migrate(lab, elsewhere, idle, *options)
    soon(task).failed_with(error_code, "domain_stopped").tells_truth(lab)
    # What was asked of the guest has gone with it.
    there = run(uri=elsewhere.uri, domain=idle, alias=ALIAS, requested="128MiB", wait=False).end()
    there.is_green(changed=False).tells_truth(elsewhere)
    assert elsewhere.requested(idle) == elsewhere.requested(idle, "config") == 128 * MIB


def test_a_qemu_that_answers_no_more(lab: Lab, run: Runner, idle: str) -> None:
    """libvirt itself waits for ever; the daemon still answers everything else."""
    began = time.monotonic()
    with lab.stopped(lab.qemu(idle)):
        answer = run(domain=idle, alias=ALIAS, requested="128MiB", wait_timeout=5).end(120)
    assert time.monotonic() - began < 110
    answer.failed_with("domain_busy")
    assert answer.output["details"]["unknown_scope"] == "live"
    assert lab.requested(idle, "config") != 128 * MIB
    # The first change may come through yet, now that QEMU answers again; either way this one ends as declared.
    run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green().tells_truth(lab)
    assert lab.requested(idle) == lab.requested(idle, "config") == 128 * MIB
