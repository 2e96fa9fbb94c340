# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two tasks on the same domain at the same time, and a domain that stops under a task, many times over.

Whatever the order, the end must be one of the declared states in both scopes, and every failure one that says what
happened. Reads from its input, as JSON: lab, uri, guest (with a device ua-vm0, without an operating system),
answering (the same, with one).
"""

from __future__ import annotations

import json
import sys
import time
import typing as t
import xml.etree.ElementTree as ET

import libvirt
from call import Call, start
from checker import Checker, Wrong, need

MIB = 1024**2
LIVE, CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG
# What a task may say that was not alone.
OVERTAKEN = ("changed_meanwhile",)
STOPPED = ("domain_stopped",)


class Races:
    """The lab, and one of its domains."""

    def __init__(self, checker: Checker, domain: str) -> None:
        self.checker = checker
        self.domain = domain
        self.handle = checker.connection.lookupByName(domain)

    def begin(self, **options: t.Any) -> Call:
        """A task on the domain, which goes on in the background."""
        return start(uri=self.checker.uri, domain=self.domain, **options)

    def devices(self, alias: str) -> list[tuple[int, int] | None]:
        """Size and requested size, in MiB, of the device in the running guest and in the configuration."""
        found: list[tuple[int, int] | None] = []
        for scope in ("live", "config"):
            elements = self.checker.devices(self.domain, scope)
            found.append(_sizes(elements[alias]) if alias in elements else None)
        return found


def _sizes(text: str) -> tuple[int, int]:
    element = ET.fromstring(text)
    size, requested = (int(element.findtext(f"target/{tag}") or 0) // 1024 for tag in ("size", "requested"))
    return size, requested


def _ended(answer: t.Mapping[str, t.Any], codes: t.Sequence[str]) -> bool:
    """Whether a task was successful.

    Raises:
        Wrong: it failed with something that says nothing of the other one.
    """
    code = answer.get("error_code")
    need(code is None or code in codes, f"a task may fail with {codes} only", answer)
    return code is None


def resizes(races: Races, rounds: int, wait: bool) -> None:
    """Two tasks request different sizes."""
    for number in range(rounds):
        # Always two that the device does not have.
        pair = (64 + 16 * (number % 3), 256 + 32 * (number % 3))
        options = {"alias": "vm0", "wait": wait, "wait_timeout": 60}
        calls = [races.begin(requested=f"{size}MiB", **options) for size in pair]
        answers = [call.result() for call in calls]
        won = [_ended(answer, OVERTAKEN) for answer in answers]
        live, config = races.devices("ua-vm0")
        what = f"round {number}: {pair} ended as live {live}, config {config}, {won}"
        need(live is not None and live == config and live[1] in pair, f"a mixture, {what}", answers[0])
        # Of two that wait, the one whose size it is not must have said so.
        loser = answers[1 - pair.index(live[1])] if live else answers[0]
        need(not wait or "error_code" in loser or _came_first(loser, answers), f"a loser is content, {what}", loser)


def _came_first(loser: t.Mapping[str, t.Any], answers: t.Sequence[t.Mapping[str, t.Any]]) -> bool:
    """Whether the task had all it declared before the other one began to change it."""
    return bool(loser["device"]["converged"]) and answers[0] is not answers[1]


def attachments(races: Races, rounds: int) -> None:
    """Two tasks attach a device of the same name, which only one of them can."""
    for number in range(rounds):
        alias = f"ua-new{number}"
        options = {"model": "virtio-mem", "alias": alias, "size": "64MiB", "wait": False}
        calls = [races.begin(requested=f"{size}MiB", **options) for size in (16, 32)]
        answers = [call.result() for call in calls]
        for answer in answers:
            _ended(answer, OVERTAKEN)
        live, config = races.devices(alias)
        what = f"round {number}: live {live}, config {config}"
        need(live is not None and live == config and live in ((64, 16), (64, 32)), f"a mixture, {what}", answers[0])
        names = [name for scope in ("live", "config") for name in races.checker.devices(races.domain, scope)]
        need(names.count(alias) == 2, f"attached twice, {what}", answers[1])


def removals(races: Races, rounds: int) -> None:
    """One task requests another size in the configuration while another one removes the device from it."""
    for number in range(rounds):
        alias = f"ua-old{number}"
        element = (
            "<memory model='virtio-mem'><target><size unit='MiB'>64</size><node>0</node><block unit='MiB'>2</block>"
            f"<requested unit='MiB'>0</requested></target><alias name='{alias}'/></memory>"
        )
        races.handle.attachDeviceFlags(element, CONFIG)
        calls = [
            races.begin(alias=alias, scope="config", requested="32MiB"),
            races.begin(alias=alias, scope="config", state="absent"),
        ]
        answers = [call.result() for call in calls]
        # Where the device has gone already, there is nothing left to ask for a size.
        _ended(answers[0], (*OVERTAKEN, "missing_option"))
        gone = _ended(answers[1], OVERTAKEN)
        config = races.devices(alias)[1]
        need(config in (None, (64, 32)), f"round {number}: config {config}", answers[0])
        need(not gone or config is None, f"round {number}: it is back, config {config}", answers[1])


def stops(races: Races, rounds: int) -> None:
    """The domain stops under the task: sooner or later in each round."""
    for number in range(rounds):
        if not races.handle.isActive():
            races.handle.create()
        wanted = 64 + 16 * (number % 3)
        call = races.begin(alias="vm0", requested=f"{wanted}MiB", wait_timeout=60)
        time.sleep(0.01 * number)
        races.handle.destroyFlags(0)
        answer = call.result()
        code = answer.get("error_code")
        need(code in (None, *STOPPED), f"round {number}: {STOPPED} is expected", answer)
        requested = (races.devices("ua-vm0")[1] or (0, 0))[1]
        if code is None:
            need(requested == wanted, f"round {number}: config has {requested}", answer)


def main() -> None:
    """Prints what is wrong."""
    given = json.load(sys.stdin)
    checker = Checker(given["uri"])
    silent, answering = Races(checker, given["guest"]), Races(checker, given["answering"])
    contests: tuple[tuple[str, t.Callable[[], None]], ...] = (
        ("two sizes, nobody waits", lambda: resizes(silent, 10, wait=False)),
        ("two sizes, both wait", lambda: resizes(answering, 5, wait=True)),
        ("two attachments", lambda: attachments(silent, 10)),
        ("a size and a removal", lambda: removals(silent, 5)),
        ("a domain that stops", lambda: stops(silent, 5)),
    )
    faults = 0
    for name, contest in contests:
        began = time.monotonic()
        fault = _fault(contest)
        faults += bool(fault)
        print(f"{name}: {fault or 'ok'} ({time.monotonic() - began:.1f} s)")
    sys.exit(1 if faults else 0)


def _fault(contest: t.Callable[[], None]) -> str:
    try:
        contest()
    except (Wrong, libvirt.libvirtError) as wrong:
        return str(wrong)
    return ""


# A process that is forked for a call imports this file as well.
if __name__ == "__main__":
    main()
