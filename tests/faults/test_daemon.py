# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The daemon dies at the worst moments."""

from __future__ import annotations

import time
import typing as t

import pytest
from faultlab import ALIAS, KEEPALIVE, MIB, Lab, Runner, until
from proxy import DETACH_ALIAS, REPLY, UPDATE, Message, Proxy


@pytest.mark.quick
def test_killed_while_a_wait_lasts(lab: Lab, run: Runner, guest: str) -> None:
    lab.virsh("suspend", guest)  # so that the wait lasts
    task = run(domain=guest, alias=ALIAS, requested="128MiB", wait_timeout=60)
    until(lambda: lab.requested(guest, "config") == 128 * MIB, "the request")
    time.sleep(1)
    killed = time.monotonic()
    lab.kill()
    answer = task.end().failed_with("connection_lost")
    assert time.monotonic() - killed < 10
    assert answer.output["changed"]
    lab("restart")
    answer.tells_truth(lab)

    lab.virsh("resume", guest)
    run(domain=guest, alias=ALIAS, requested="128MiB", wait_timeout=30).end().is_green(changed=False).tells_truth(lab)
    assert lab.device(guest, "live")["current"] == 128 * MIB  # type: ignore[index]


@pytest.mark.parametrize("wait", [False, True])
def test_restarted_in_good_order_while_a_wait_lasts(lab: Lab, run: Runner, idle: str, wait: bool) -> None:
    task = run(domain=idle, alias=ALIAS, requested="128MiB", wait_timeout=60)
    until(lambda: lab.requested(idle, "config") == 128 * MIB, "the request")
    time.sleep(1)
    lab("restart", "--after", "1" if wait else "0")
    task.end().failed_with("connection_lost").tells_truth(lab)
    run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green(changed=False).tells_truth(lab)


@pytest.mark.parametrize(
    "answered",
    [
        pytest.param(True, id="after the live change was answered", marks=pytest.mark.quick),
        pytest.param(False, id="before the live change was answered"),
    ],
)
def test_killed_between_the_live_and_the_config_change(
    lab: Lab, run: Runner, idle: str, proxy: Proxy, answered: bool
) -> None:
    def kill(message: Message) -> bool:
        if (message.procedure, message.kind, message.number) != (UPDATE, REPLY, 1):
            return True
        lab.kill()
        return answered

    proxy.hook = kill
    began = run(uri=proxy.uri, domain=idle, alias=ALIAS, requested="128MiB", wait_timeout=30)
    answer = began.end().failed_with("connection_lost").within(0)
    lab("restart")
    assert (lab.requested(idle), lab.requested(idle, "config")) == (128 * MIB, 0)
    if answered:
        answer.tells_truth(lab)
        assert answer.output["changed"]
    else:
        # Nobody can know then what became of the call, and the result says so.
        assert answer.output["details"]["unknown_scope"] == "live"
        assert (answer.device["config"] or {}).get("requested") == 0
    again = run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green(changed=True).tells_truth(lab)
    assert [step["scope"] for step in again.output["steps"]] == ["config"]


@pytest.mark.quick
def test_killed_during_a_detach(lab: Lab, run: Runner, guest: str, proxy: Proxy) -> None:
    dimm: dict[str, t.Any] = {"domain": guest, "alias": "ua-dimm0"}
    run(**dimm, model="dimm", size="128MiB", node=0, wait_timeout=30).end().is_green(changed=True)
    lab.virsh("suspend", guest)  # so that it does not answer yet
    asked = []

    def note(message: Message) -> bool:
        if (message.procedure, message.kind) == (DETACH_ALIAS, REPLY):
            asked.append(message)
        return True

    proxy.hook = note
    task = run(uri=proxy.uri, **dimm, state="absent", wait_timeout=60)
    until(lambda: asked, "the request to give the device back")
    lab.kill()
    answer = task.end().failed_with("connection_lost").within(0)
    lab("restart")
    answer.tells_truth(lab, "ua-dimm0")
    assert lab.device(guest, "live", "ua-dimm0")
    assert lab.device(guest, "config", "ua-dimm0")
    lab.virsh("resume", guest)
    run(**dimm, state="absent", wait_timeout=60).end().is_green().tells_truth(lab, "ua-dimm0")
    assert not lab.device(guest, "live", "ua-dimm0")
    assert not lab.device(guest, "config", "ua-dimm0")


def test_a_daemon_that_hangs_is_given_up(lab: Lab, run: Runner, idle: str) -> None:
    task = run(domain=idle, alias=ALIAS, requested="128MiB", wait_timeout=4)
    until(lambda: lab.requested(idle, "config") == 128 * MIB, "the request")
    with lab.stopped(lab.daemon):
        answer = task.end().failed_with("connection_lost", "not_converged").within(4 + KEEPALIVE)
    answer.tells_truth(lab)
    run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green(changed=False)
