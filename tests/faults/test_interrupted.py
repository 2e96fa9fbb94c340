# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The task is interrupted, or runs in the background."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from faultlab import ALIAS, MIB, Lab, Runner, Task, until
from proxy import REPLY, UPDATE, Message, Proxy

Play = t.Callable[..., subprocess.Popen[str]]
# What a module hears of; one of them shows in every run what becomes of all.
SIGNALS = [
    pytest.param(signal.SIGINT),
    pytest.param(signal.SIGTERM, marks=pytest.mark.quick),
    pytest.param(signal.SIGHUP),
]


@pytest.mark.parametrize("number", SIGNALS, ids=["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_during_the_wait(lab: Lab, run: Runner, idle: str, number: signal.Signals) -> None:
    task = run(domain=idle, alias=ALIAS, requested="128MiB", wait_timeout=60)
    until(lambda: lab.requested(idle, "config") == 128 * MIB, "the request")
    time.sleep(0.5)
    task.process.send_signal(number)
    began = time.monotonic()
    answer = task.end().failed_with("task_interrupted").tells_truth(lab)
    assert time.monotonic() - began < 5
    assert answer.output["changed"]
    run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green(changed=False)


def test_a_terminal_that_is_closed_ends_no_task_that_nohup_began(lab: Lab, run: Runner, idle: str) -> None:
    ignoring = ("sh", "-c", "trap '' HUP; exec \"$@\"", "sh")
    task = run(before=ignoring, domain=idle, alias=ALIAS, requested="128MiB", wait_timeout=4)
    until(lambda: lab.requested(idle, "config") == 128 * MIB, "the request")
    task.process.send_signal(signal.SIGHUP)
    task.end().failed_with("not_converged").within(4).tells_truth(lab)


@pytest.mark.parametrize("number", SIGNALS[:2], ids=["SIGINT", "SIGTERM"])
def test_a_signal_between_the_live_and_the_config_change(
    lab: Lab, run: Runner, idle: str, proxy: Proxy, number: signal.Signals
) -> None:
    """What was begun in the guest is brought to an end in the configuration."""
    tasks: list[Task] = []

    def interrupt(message: Message) -> bool:
        if (message.procedure, message.kind, message.number) == (UPDATE, REPLY, 1):
            until(lambda: tasks, "the task")
            tasks[0].process.send_signal(number)
            time.sleep(0.3)
        return True

    proxy.hook = interrupt
    tasks.append(run(uri=proxy.uri, domain=idle, alias=ALIAS, requested="128MiB", wait_timeout=60))
    answer = tasks[0].end().failed_with("task_interrupted").within(0).tells_truth(lab)
    assert lab.requested(idle) == lab.requested(idle, "config") == 128 * MIB
    assert answer.output["changed"]


@pytest.mark.parametrize("number", SIGNALS[:2], ids=["SIGINT", "SIGTERM"])
def test_a_signal_before_anything_is_known(run: Runner, short: Path, number: signal.Signals) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(short / "silent"))
        door.listen()
        door.settimeout(20)
        task = run(uri=f"qemu+unix:///session?socket={short / 'silent'}", domain="any", alias=ALIAS, requested="0B")
        client, _address = door.accept()
        time.sleep(0.3)
        task.process.send_signal(number)
        began = time.monotonic()
        answer = task.end().failed_with("task_interrupted")
        assert time.monotonic() - began < 5
        assert not answer.output["changed"]
        client.close()


def test_a_module_that_is_killed_leaves_what_a_rerun_mends(lab: Lab, run: Runner, idle: str, proxy: Proxy) -> None:
    """Nothing can be answered then; nothing must be lost either."""
    tasks: list[Task] = []

    def kill(message: Message) -> bool:
        if (message.procedure, message.kind, message.number) != (UPDATE, REPLY, 1):
            return True
        until(lambda: tasks, "the task")
        tasks[0].process.kill()
        return False

    proxy.hook = kill
    tasks.append(run(uri=proxy.uri, domain=idle, alias=ALIAS, requested="128MiB", wait_timeout=60))
    assert tasks[0].process.wait(30) == -signal.SIGKILL
    assert (lab.requested(idle), lab.requested(idle, "config")) == (128 * MIB, 0)
    run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green(changed=True).tells_truth(lab)
    assert lab.requested(idle) == lab.requested(idle, "config") == 128 * MIB


def modules(folder: Path) -> list[str]:
    """The processes that have been started for this play, by what they run."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it may be gone by now
            if entry.name.isdigit() and os.fsencode(folder) in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def test_ctrl_c_of_a_play(lab: Lab, run: Runner, idle: str, play: Play, tree: Path) -> None:
    book = play({"domain": idle, "alias": ALIAS, "requested": "128MiB", "wait_timeout": 100})
    until(lambda: lab.requested(idle, "config") == 128 * MIB, "the request", 60)
    time.sleep(1)
    os.killpg(book.pid, signal.SIGINT)  # as a terminal does
    output, _nothing = book.communicate(timeout=30)
    assert book.returncode != 0
    assert "Traceback" not in output, output
    until(lambda: not [line for line in modules(tree) if "memory_device" in line], "the end of the module", 10)
    assert lab.requested(idle) == lab.requested(idle, "config") == 128 * MIB
    run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green(changed=False)


def test_async_and_poll(lab: Lab, guest: str, play: Play) -> None:
    book = play({"domain": guest, "alias": ALIAS, "requested": "128MiB"}, {"async": 100, "poll": 1}, "-v")
    output, _nothing = book.communicate(timeout=120)
    assert book.returncode == 0, output
    assert "changed=1" in output, output
    assert "Traceback" not in output, output
    assert lab.device(guest, "live")["current"] == 128 * MIB  # type: ignore[index]
    assert lab.requested(guest, "config") == 128 * MIB


def test_async_that_fails(lab: Lab, idle: str, play: Play) -> None:
    task = {"async": 100, "poll": 1}
    book = play({"domain": idle, "alias": ALIAS, "requested": "128MiB", "wait_timeout": 3}, task, "-v")
    output, _nothing = book.communicate(timeout=120)
    assert book.returncode != 0, output
    assert '"error_code": "not_converged"' in output, output
    assert "Traceback" not in output, output
    assert lab.requested(idle) == lab.requested(idle, "config") == 128 * MIB


def test_async_that_takes_too_long(lab: Lab, run: Runner, idle: str, play: Play) -> None:
    """Ansible kills the module then, which can answer nothing."""
    task = {"async": 6, "poll": 1}
    book = play({"domain": idle, "alias": ALIAS, "requested": "128MiB", "wait_timeout": 100}, task, "-v")
    output, _nothing = book.communicate(timeout=120)
    assert book.returncode != 0, output
    assert "Traceback" not in output, output
    assert lab.requested(idle) == lab.requested(idle, "config") == 128 * MIB
    run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green(changed=False)
