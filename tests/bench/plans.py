# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bench of plans: whether a domain of a thousand takes what a domain of a hundred takes, on a model of libvirt."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import plays
from rows import Row

FEW, MANY = 100, 1000
ROUNDS = 5
TARGET = 1.2
WHAT = {"planned": "to plan for a domain", "done": "to plan for it, change it and wait"}


def bench(place: plays.Place) -> list[Row]:
    """Both by turns, each in a process of its own; the quickest of each."""
    runs = [(_run(place, FEW), _run(place, MANY)) for _round in range(ROUNDS)]
    few, many = (
        {name: min(run[side][name] for run in runs) / count for name in runs[0][side]}
        for side, count in ((0, FEW), (1, MANY))
    )
    beside = f"of {FEW}"
    measured = [Row(f"{what} of {MANY} (model)", many[name], beside, few[name], TARGET) for name, what in WHAT.items()]
    return [*measured, Row(f"its memory, of {MANY}", many["memory"], beside, few["memory"], TARGET, None, True)]


def _run(place: plays.Place, count: int) -> dict[str, float]:
    command = [str(place.python), str(Path(__file__).with_name("planned.py")), str(count)]
    ran = subprocess.run(command, env=place.modules(), check=True, stdout=subprocess.PIPE)
    measured: dict[str, float] = json.loads(ran.stdout)
    return measured
