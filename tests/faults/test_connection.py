# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections that break, fall silent, are slow, or go through ssh."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest
import sshd
from faultlab import ALIAS, KEEPALIVE, MIB, Lab, Runner, until
from proxy import CALL, GET_XML, LIST, REPLY, UPDATE, Message, Proxy, passing


def test_cut_during_the_wait(lab: Lab, run: Runner, idle: str, proxy: Proxy) -> None:
    task = run(uri=proxy.uri, domain=idle, alias=ALIAS, requested="128MiB", wait_timeout=60)
    until(lambda: lab.requested(idle, "config") == 128 * MIB, "the request")
    time.sleep(1)
    proxy.cut()
    began = time.monotonic()
    answer = task.end().failed_with("connection_lost").tells_truth(lab)
    assert time.monotonic() - began < 5
    assert answer.output["changed"]
    run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green(changed=False)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("kind", [CALL, pytest.param(REPLY, marks=pytest.mark.quick)])
def test_cut_at_each_change(lab: Lab, run: Runner, idle: str, proxy: Proxy, number: int, kind: int) -> None:
    """Before the call comes through, or before its answer does."""

    def cut(message: Message) -> bool:
        if (message.procedure, message.kind, message.number) != (UPDATE, kind, number):
            return True
        proxy.cut()
        return False

    proxy.hook = cut
    task = run(uri=proxy.uri, domain=idle, alias=ALIAS, requested="128MiB", wait_timeout=30)
    answer = task.end().failed_with("connection_lost").within(0)
    scope = ("live", "config")[number - 1]
    assert answer.output["details"]["unknown_scope"] == scope
    assert answer.output["changed"] == (number == 2)
    had = [lab.requested(idle), lab.requested(idle, "config")]
    assert had == [128 * MIB * (number == 2 or kind == REPLY), 128 * MIB * (number == 2 and kind == REPLY)]
    if number == 2:
        assert answer.device["live"]["requested"] == 128 * MIB
    again = run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green().tells_truth(lab)
    left = [name for name, size in zip(("live", "config"), had, strict=True) if not size]
    assert [step["scope"] for step in again.output["steps"]] == left


def silent(folder: Path) -> tuple[socket.socket, str]:
    """A socket that accepts and never says a word, and its URI."""
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(folder / "silent"))
    door.listen()
    return door, f"qemu+unix:///session?socket={folder / 'silent'}"


def test_silent_without_being_closed(lab: Lab, run: Runner, idle: str, proxy: Proxy) -> None:
    """While a wait lasts. The keepalive finds it out."""
    task = run(uri=proxy.uri, domain=idle, alias=ALIAS, requested="128MiB", wait_timeout=60)
    until(lambda: lab.requested(idle, "config") == 128 * MIB, "the request")
    time.sleep(0.5)
    began = time.monotonic()
    proxy.stall()
    answer = task.end().failed_with("connection_lost")
    assert time.monotonic() - began < KEEPALIVE
    answer.tells_truth(lab)
    run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green(changed=False)


def test_silent_in_the_middle_of_a_call_or_from_the_start(
    lab: Lab, run: Runner, idle: str, proxy: Proxy, short: Path
) -> None:
    """All at the same time, since each takes its time."""
    door, uri = silent(short)
    with door:
        opening = [run(uri=uri, domain=idle, alias=ALIAS, requested="128MiB"), run("memory_device_info", uri=uri)]

        def stall(message: Message) -> bool:
            if (message.procedure, message.kind) == (UPDATE, CALL):
                proxy.stall()
            return True

        proxy.hook = stall
        task = run(uri=proxy.uri, domain=idle, alias=ALIAS, requested="128MiB")
        answer = task.end().failed_with("connection_lost").within(KEEPALIVE)
        assert answer.output["details"]["unknown_scope"] == "live"
        assert answer.output["changed"] is False
        for hanging in opening:
            hanging.end().failed_with("connection_failed").within(60)
    proxy.close()  # what was kept back goes through now, or not
    run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green().tells_truth(lab)


@pytest.mark.parametrize("procedure", [LIST, pytest.param(GET_XML, marks=pytest.mark.quick)])
def test_reading_is_cut(run: Runner, idle: str, proxy: Proxy, procedure: int) -> None:
    """What could not be read is not just left out."""
    assert idle

    def cut(message: Message) -> bool:
        if (message.procedure, message.kind) != (procedure, CALL):
            return True
        proxy.cut()
        return False

    proxy.hook = cut
    run("memory_device_info", uri=proxy.uri).end().failed_with("connection_lost").within(0)
    proxy.hook = passing
    run("memory_device_info", uri=proxy.uri).end().is_green()


@pytest.mark.parametrize("procedure", [LIST, GET_XML])
def test_reading_falls_silent(run: Runner, idle: str, proxy: Proxy, procedure: int) -> None:
    assert idle

    def stall(message: Message) -> bool:
        if (message.procedure, message.kind) == (procedure, CALL):
            proxy.stall()
        return True

    proxy.hook = stall
    run("memory_device_info", uri=proxy.uri, timeout=60).end().failed_with("connection_lost").within(KEEPALIVE)


def test_a_slow_connection(lab: Lab, run: Runner, guest: str, proxy: Proxy) -> None:
    proxy.delay = 0.15  # there and back
    run(uri=proxy.uri, domain=guest, alias=ALIAS, requested="128MiB", wait_timeout=60).end().is_green(changed=True)
    again = run(uri=proxy.uri, domain=guest, alias=ALIAS, requested="128MiB", wait_timeout=60)
    again.end().is_green(changed=False).tells_truth(lab)


def test_a_wait_longer_than_the_keepalive(lab: Lab, run: Runner, guest: str) -> None:
    """A quiet connection is no dead one."""
    lab.virsh("suspend", guest)
    task = run(domain=guest, alias=ALIAS, requested="128MiB", wait_timeout=120, wait_sleep=45)
    time.sleep(40)
    assert task.runs()
    lab.virsh("resume", guest)
    task.end().is_green(changed=True).tells_truth(lab)


@pytest.mark.quick
def test_over_ssh(lab: Lab, run: Runner, idle: str, short: Path) -> None:
    with sshd.serving(lab, short) as uri:
        run(uri=uri, domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green(changed=True)
        assert lab.requested(idle) == lab.requested(idle, "config") == 128 * MIB
        found = run("memory_device_info", uri=uri).end().is_green().output["domains"]
        assert idle in [domain["name"] for domain in found]
        task = run(uri=uri, domain=idle, alias=ALIAS, requested="64MiB", wait_timeout=60)
        until(lambda: lab.requested(idle, "config") == 64 * MIB, "the request")
        time.sleep(0.5)
        clients = ssh_of(task.process.pid)
        assert clients
        for process in clients:
            os.kill(process, signal.SIGKILL)
        task.end().failed_with("connection_lost").tells_truth(lab)
    # It no longer listens.
    answer = run(uri=uri, domain=idle, alias=ALIAS, requested="64MiB").end().failed_with("connection_failed").within(0)
    assert "keyfile" in answer.output["msg"]
    run(domain=idle, alias=ALIAS, requested="64MiB", wait=False).end().is_green(changed=False)


def test_over_ssh_with_a_key_that_is_not_known(lab: Lab, run: Runner, idle: str, short: Path) -> None:
    with sshd.serving(lab, short) as uri:
        (short / "known_hosts").write_text("")
        answer = run(uri=uri, domain=idle, alias=ALIAS, requested="64MiB").end()
        answer.failed_with("connection_failed").within(0)
        assert "Host key verification failed" in answer.output["msg"]


def ssh_of(process: int) -> list[int]:
    """The clients of ssh that a module has started."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    children = [int(word) for task in tasks for word in task.read_text().split()]
    return [child for child in children if Path(f"/proc/{child}/comm").read_text().strip() == "ssh"]
