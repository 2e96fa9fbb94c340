# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Somebody else is at the same domain."""

from __future__ import annotations

import subprocess
import time
import typing as t

import pytest
from conftest import virtio_mem
from faultlab import ALIAS, MIB, Lab, Runner, same_as_libvirt, until
from proxy import CALL, UPDATE, Message, Proxy


def both(lab: Lab, name: str) -> tuple[int | None, int | None]:
    """What is requested in the guest and in the configuration."""
    return lab.requested(name), lab.requested(name, "config")


@pytest.mark.quick
def test_two_tasks_that_want_the_same(lab: Lab, run: Runner, guest: str) -> None:
    tasks = [run(domain=guest, alias=ALIAS, requested="128MiB", wait_timeout=60) for _number in range(3)]
    for task in tasks:
        task.end().is_green()
    assert both(lab, guest) == (128 * MIB, 128 * MIB)


def test_two_tasks_that_want_different_things(lab: Lab, run: Runner, guest: str) -> None:
    """One wins, in both scopes; the other one is red, or was done before."""
    sizes = {"64MiB": 64 * MIB, "128MiB": 128 * MIB}
    tasks = {size: run(domain=guest, alias=ALIAS, requested=size, wait_timeout=60) for size in sizes}
    answers = {size: task.end() for size, task in tasks.items()}
    live, config = both(lab, guest)
    assert live == config
    winner = next(size for size, count in sizes.items() if count == live)
    answers.pop(winner).is_green().tells_truth(lab)
    for answer in answers.values():
        assert answer.error_code in (None, "changed_meanwhile"), answer.text
    for size in sizes:  # and one after the other, all is well
        run(domain=guest, alias=ALIAS, requested=size, wait_timeout=60).end().is_green().tells_truth(lab)


@pytest.mark.quick
def test_two_tasks_that_attach_the_same_device(lab: Lab, run: Runner, idle: str) -> None:
    new: dict[str, t.Any] = {"alias": "ua-new", "model": "virtio-mem", "size": "1GiB", "requested": "0B", "node": 0}
    tasks = [run(domain=idle, **new) for _number in range(3)]
    answers = [task.end() for task in tasks]
    assert [answer for answer in answers if answer.error_code is None]
    for answer in answers:
        assert answer.error_code in (None, "changed_meanwhile", "libvirt_error", "alias_conflict"), answer.text
    for scope in ("live", "config"):
        assert len(lab.devices(idle, scope)) == 2
    run(domain=idle, **new).end().is_green(changed=False).tells_truth(lab, "ua-new")


def test_virsh_changes_the_same_device_during_the_wait(lab: Lab, run: Runner, idle: str) -> None:
    task = run(domain=idle, alias=ALIAS, requested="128MiB", wait_timeout=60)
    until(lambda: both(lab, idle) == (128 * MIB, 128 * MIB), "the request")
    time.sleep(0.5)
    lab.virsh("update-memory-device", idle, "--alias", ALIAS, "--requested-size", "64MiB")
    answer = task.end().failed_with("changed_meanwhile").within(0).tells_truth(lab)
    assert answer.output["details"]["requested_now"] == 64 * MIB
    run(domain=idle, alias=ALIAS, requested="64MiB", wait=False).end().is_green().tells_truth(lab)
    assert both(lab, idle) == (64 * MIB, 64 * MIB)


def test_virsh_removes_the_device_during_the_wait(lab: Lab, run: Runner, guest: str) -> None:
    run(domain=guest, alias="ua-dimm0", model="dimm", size="128MiB", node=0).end().is_green()
    lab.virsh("suspend", guest)
    task = run(domain=guest, alias="ua-dimm0", state="absent", wait_timeout=60)
    time.sleep(2)
    lab.virsh("detach-device-alias", guest, "ua-dimm0", "--config")
    lab.virsh("resume", guest)
    task.end().is_green(changed=True).tells_truth(lab, "ua-dimm0")
    assert not lab.device(guest, "live", "ua-dimm0")
    assert not lab.device(guest, "config", "ua-dimm0")


@pytest.mark.parametrize("number", [1, 2])
def test_virsh_changes_the_device_just_before_the_module_does(
    lab: Lab, run: Runner, idle: str, proxy: Proxy, number: int
) -> None:
    """After the module has looked for the last time. Nothing can prevent it; the end is whole and told all the same."""

    def meddle(message: Message) -> bool:
        if (message.procedure, message.kind, message.number) == (UPDATE, CALL, number):
            scope = ("--live", "--config")[number - 1]
            lab.virsh("update-memory-device", idle, scope, "--alias", ALIAS, "--requested-size", "64MiB")
        return True

    proxy.hook = meddle
    answer = run(uri=proxy.uri, domain=idle, alias=ALIAS, requested="128MiB", wait=False).end()
    assert answer.error_code in (None, "changed_meanwhile"), answer.text
    answer.tells_truth(lab)
    if answer.error_code is None:
        assert both(lab, idle) == (128 * MIB, 128 * MIB)
    run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green()
    assert both(lab, idle) == (128 * MIB, 128 * MIB)


def test_a_domain_of_a_layout_vanishes_half_way(lab: Lab, run: Runner, idle: str) -> None:
    device = {"alias": ALIAS, "requested": "128MiB"}
    with lab.guest("gone", "--kind", "empty", "--device", virtio_mem()) as gone:
        domains = [{"name": name, "devices": [device]} for name in (gone, idle)]
        task = run("memory_layout", domains=domains, wait_timeout=4)
        until(lambda: both(lab, gone) == (128 * MIB, 128 * MIB), "the request")
        lab("delete", gone)
        answer = task.end().failed_with("domains_failed").within(4)
    results = {domain["name"]: domain for domain in answer.output["domains"]}
    assert results[gone]["failure"]["error_code"] in ("domain_vanished", "domain_stopped"), answer.text
    assert results[idle]["failure"]["error_code"] == "not_converged", answer.text
    assert answer.output["failed_domains"] == [gone, idle]
    same_as_libvirt(answer, lab, idle, ALIAS, results[idle]["devices"][0])
    domains = [{"name": idle, "devices": [device]}]
    run("memory_layout", domains=domains, wait=False).end().is_green(changed=False)


def test_another_job_holds_the_domain(lab: Lab, run: Runner, idle: str) -> None:
    """QEMU hangs, and the job of another client with it: libvirt stops waiting after 30 s."""
    with lab.stopped(lab.qemu(idle)):
        # A question to QEMU's monitor, which holds the domain until it is answered.
        asking = ["virsh", "-c", lab.uri, "qemu-monitor-command", idle, '{"execute": "query-status"}']
        other = subprocess.Popen(asking, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(3)
            task = run(domain=idle, alias=ALIAS, requested="128MiB", wait_timeout=10)
            run("memory_device_info", timeout=3).end().is_green().within(3)
            answer = task.end().failed_with("domain_busy").within(10 + 35)
            assert answer.output["changed"] is False
        finally:
            other.kill()
            other.wait()
    until(lambda: lab.state(idle) == "running", "its return")
    assert both(lab, idle) == (0, 0)
    run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green(changed=True).tells_truth(lab)
