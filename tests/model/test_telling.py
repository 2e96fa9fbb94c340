# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a task that waits tells meanwhile, on the model of libvirt and its clock."""

from __future__ import annotations

import typing as t

import pytest

pytest.importorskip("libvirt")

from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Declaration, Wish
from ansible_collections.virtmem.libvirt.tests.model import libvirt_model as model
from ansible_collections.virtmem.libvirt.tests.model.tasks import GIB, MIB, codes, dimm, libvirt, requests, run, vm
from ansible_collections.virtmem.libvirt.tests.model.test_waiting import gets, silent

Told = list[t.Mapping[str, t.Any]]


def told(host: model.Libvirt, declared: t.Mapping[str, Declaration], **how: t.Any) -> tuple[Told, list[str | None]]:
    """What the task told, and how each domain ended."""
    reports: Told = []
    jobs = run(host, declared, tells=reports.append, **how)
    return reports, codes(jobs)


def guests(reports: Told) -> list[list[str]]:
    """Who was waited for, each time."""
    return [report["waiting"] for report in reports]


def test_a_guest_on_its_way_is_told_every_second() -> None:
    host = silent("a")
    gets(host, "a", 2.6, GIB)
    gets(host, "a", 8.5, 2 * GIB)
    reports, ended = told(host, {"a": requests(2 * GIB)}, timeout=60, sleep=30)
    assert ended == [None]
    assert [round(report["waited"]) for report in reports] == list(range(9))
    assert {(report["timeout"], report["guests"]) for report in reports} == {(60, 1)}
    assert guests(reports) == [
        *(["a 0 of 2GiB"] for _second in range(3)),
        *(["a 1GiB of 2GiB"] for _second in range(3)),
        *([f"a 1GiB of 2GiB, unmoved {quiet} s"] for quiet in (3, 4, 5)),
    ]


def test_only_those_that_are_still_on_their_way() -> None:
    host = silent("a", "b", "c", b=1 * GIB)
    gets(host, "a", 1.5, 2 * GIB)
    gets(host, "b", 3.5, 512 * MIB)
    gets(host, "c", 2.5, 2 * GIB)
    declared = {"a": requests(2 * GIB), "b": requests(512 * MIB), "c": requests(2 * GIB)}
    reports, ended = told(host, declared, timeout=60)
    assert ended == [None, None, None]
    assert {report["guests"] for report in reports} == {3}
    assert guests(reports) == [
        ["a 0 of 2GiB", "b 1GiB down to 512MiB", "c 0 of 2GiB"],
        ["a 0 of 2GiB", "b 1GiB down to 512MiB", "c 0 of 2GiB"],
        ["b 1GiB down to 512MiB", "c 0 of 2GiB"],
        ["b 1GiB down to 512MiB, unmoved 3 s"],
    ]


def test_a_guest_by_its_memory_in_all() -> None:
    host = silent("a")
    gets(host, "a", 0.5, 256 * MIB)
    reports, ended = told(host, {"a": Declaration(memory=2 * GIB)}, timeout=3)
    assert ended == ["not_converged"]
    assert guests(reports)[:2] == [["a 1GiB of 2GiB"], ["a 1280MiB of 2GiB"]]


def test_a_device_that_is_empty_and_left_alone_for_a_moment() -> None:
    reports, ended = told(libvirt(a=[vm()]), {"a": Declaration((Wish(alias="ua-vm0", state="absent"),))})
    assert ended == [None]
    assert guests(reports) == [
        ["a has emptied ua-vm0, which is unplugged in 2 s"],
        ["a has emptied ua-vm0, which is unplugged in 1 s"],
        ["a gives ua-vm0 back"],
    ]
    # Never more than what it is of: the time to answer begins after that moment.
    assert {report["timeout"] for report in reports} == {32}


def test_a_device_that_is_to_be_given_back() -> None:
    host = libvirt(a=[dimm("ua-d0")])
    host.machines["a"].guest = "nodriver"
    reports, _ended = told(host, {"a": Declaration((Wish(alias="ua-d0", state="absent"),))}, timeout=5)
    assert guests(reports)[0] == ["a gives ua-d0 back"]
    assert guests(reports)[-1] == ["a gives ua-d0 back, unmoved 4 s"]


def test_a_guest_that_has_the_memory_and_can_not_use_it() -> None:
    host = libvirt(balloon="virtio", a=[vm()])
    host.machines["a"].guest = "offline"
    reports, ended = told(host, {"a": requests(512 * MIB)}, timeout=4)
    assert ended == ["not_usable"]
    assert guests(reports)[-1] == ["a has the memory, and can't use it yet"]


def test_who_has_everything_tells_nothing() -> None:
    host = libvirt(a=[vm(requested=GIB)])
    assert told(host, {"a": requests(GIB)}) == ([], [None])
    # Nor is a guest waited for by whoever does not wait.
    assert told(silent("b"), {"b": requests(GIB)}, wait=False) == ([], [None])


def test_that_somebody_listens_changes_nothing() -> None:
    calls = []
    for tells in (None, lambda _report: None):
        host = silent("a", "b")
        gets(host, "a", 7.25, 2 * GIB, tells=False)
        connection = model.Connection(host)
        jobs = run(
            host, dict.fromkeys("ab", requests(2 * GIB)), connection=connection, timeout=20, sleep=5, tells=tells
        )
        calls.append((codes(jobs), host.now, connection.calls))
    assert calls[0] == calls[1]


@pytest.mark.parametrize("count", [1, 200])
def test_a_report_costs_nothing_of_libvirt(count: int) -> None:
    names = [f"d{number}" for number in range(count)]
    host = silent(*names)
    reports, _ended = told(host, dict.fromkeys(names, requests(2 * GIB)), timeout=3)
    assert len(reports[-1]["waiting"]) == count
