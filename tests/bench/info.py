# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bench of memory_device_info: a thousand domains, and whether ten times as many take ten times as long."""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

import definitions
import plays
from rows import Row, row

COUNTS = (10, 100, 1000)
MOST = COUNTS[-1]
ROUNDS = 9
TARGET, AIM = 1.9, 1.5


def bench(place: plays.Place) -> list[Row]:
    """Both ways to a test driver, and as tasks."""
    files = {count: place.folder / f"{count}.xml" for count in COUNTS}
    for count, file in files.items():
        definitions.write(file, count)
    served = _served(place, files[MOST])
    through, *here = _passes(place, [served, *(f"test://{file}" for file in files.values())])
    whole = _tasks(place, served)
    per_domain = [min(measured["ours"]) / count for measured, count in zip(here, COUNTS, strict=True)]
    return [
        row(f"{MOST} domains: a task", whole[0], "a task that runs the bare loop", whole[1], TARGET, aim=AIM),
        row(
            f"{MOST} domains: the pass, by a daemon",
            through["ours"],
            "the bare loop",
            through["bare"],
            None,
            True,
        ),
        row(f"{MOST} domains: the pass, no daemon", here[-1]["ours"], "the bare loop", here[-1]["bare"], None, True),
        *(
            Row(f"a domain of {count}", later, f"a domain of {fewer}", earlier)
            for fewer, count, earlier, later in zip(COUNTS, COUNTS[1:], per_domain, per_domain[1:], strict=False)
        ),
    ]


def _served(place: plays.Place, file: Path) -> str:
    """The test driver inside the lab's daemon, so that there is a socket between, as there is with real guests."""
    return f"test+unix://{file}?{place.lab.uri.partition('?')[2]}"


def _passes(place: plays.Place, uris: t.Sequence[str]) -> list[dict[str, list[float]]]:
    command = [place.python, Path(__file__).with_name("passes.py"), ROUNDS, *uris]
    ran = subprocess.run([str(word) for word in command], env=place.modules(), check=True, stdout=subprocess.PIPE)
    measured: list[dict[str, list[float]]] = json.loads(ran.stdout)
    return measured


def _tasks(place: plays.Place, uri: str) -> tuple[list[float], list[float]]:
    ours = {"virtmem.libvirt.memory_device_info": {"uri": uri}}
    words = [str(place.python), str(Path(__file__).with_name("bare.py")), uri]
    theirs = {"ansible.builtin.command": {"argv": words}, "changed_when": False}
    return plays.by_turns(place, ours, theirs, ROUNDS)
