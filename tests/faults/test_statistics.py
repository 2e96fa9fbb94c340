# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A task that listens to a guest while its statistics are polled, and what becomes of the polling when it ends."""

from __future__ import annotations

import signal
import time
import typing as t

import sshd
from conftest import virtio_mem
from faultlab import ALIAS, MIB, Lab, Runner, until

if t.TYPE_CHECKING:
    from pathlib import Path

OFFLINE = ("--kind", "offline", "--balloon", "virtio", "--device", virtio_mem())


def period(lab: Lab, name: str) -> str | None:
    """How often the statistics of the running guest are polled."""
    root = lab.xml(name, "live")
    stats = None if root is None else root.find("devices/memballoon/stats")
    return None if stats is None else stats.get("period")


def test_the_polling_ends_with_the_task(lab: Lab, run: Runner, short: Path) -> None:
    """However it ends: by a signal, by an error, over ssh; only who is killed leaves it on, which harms nobody."""
    with lab.guest("offline", *OFFLINE) as name:
        before = lab.virsh("dumpxml", name)
        task = run(domain=name, alias=ALIAS, requested="384MiB", wait_timeout=60)
        until(lambda: lab.requested(name, "config") == 384 * MIB, "the request")
        until(lambda: period(lab, name) == "1", "the polling")
        time.sleep(2)
        task.process.send_signal(signal.SIGINT)
        task.end().failed_with("task_interrupted").tells_truth(lab)
        assert period(lab, name) is None

        with sshd.serving(lab, short) as uri:
            answer = run(uri=uri, domain=name, alias=ALIAS, requested="384MiB", wait_timeout=3).end()
            assert answer.failed_with("not_usable").within(3).output["details"]["shortfall"] == 384 * MIB
        assert period(lab, name) is None

        task = run(domain=name, alias=ALIAS, requested="512MiB", wait_timeout=60)
        until(lambda: lab.requested(name, "config") == 512 * MIB, "the request")
        # Once libvirt's sizes are there, the polling is switched off and on for a report of now: not in between.
        time.sleep(4)
        until(lambda: period(lab, name) == "1", "the polling")
        task.process.kill()
        task.process.wait()
        assert period(lab, name) == "1"
        # The next one takes it for someone else's, and judges by it.
        answer = run(domain=name, alias=ALIAS, requested="512MiB", wait_timeout=3).end().failed_with("not_usable")
        assert answer.output["details"]["shortfall"] == 512 * MIB
        lab.virsh("dommemstat", name, "--period", "0", "--live")
        run(domain=name, alias=ALIAS, requested="0B", wait_timeout=30).end().is_green(changed=True)
        assert lab.virsh("dumpxml", name) == before


def test_a_daemon_that_dies_while_a_guest_is_listened_to(lab: Lab, run: Runner) -> None:
    with lab.guest("offline", *OFFLINE) as name:
        task = run(domain=name, alias=ALIAS, requested="384MiB", wait_timeout=60)
        until(lambda: period(lab, name) == "1", "the polling")
        until(lambda: lab.requested(name, "config") == 384 * MIB, "the request")
        lab.kill()
        task.end().failed_with("connection_lost")
        lab.heal()
        answer = run(domain=name, alias=ALIAS, requested="384MiB", wait_timeout=3).end().failed_with("not_usable")
        assert answer.output["usable"] is False
