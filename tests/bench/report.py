# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bench of the role report: what a page of a thousand guests takes beyond the survey that it is made of."""

from __future__ import annotations

import statistics

import definitions
import plays
from rows import Row

GUESTS = 1000
ROUNDS = 5
MORE = 1.0  # seconds


def bench(place: plays.Place) -> list[Row]:
    """Two plays that take turns: the survey alone, and the role."""
    file = place.folder / "report.xml"
    definitions.write(file, GUESTS)
    uri = f"test+unix://{file}?{place.lab.uri.partition('?')[2]}"
    survey = {"virtmem.libvirt.memory_device_info": {"uri": uri, "guest": True}, "name": "The survey"}
    role = {
        "ansible.builtin.include_role": {"name": "virtmem.libvirt.report"},
        "name": "The report",
        "vars": {"report_uri": uri, "report_dir": str(place.folder / "report")},
    }
    took = [[plays.run(place, [task]) for task in (survey, role)] for _round in range(ROUNDS)]
    alone, whole = (statistics.median(side) for side in zip(*took, strict=True))
    more = statistics.median(second - first for first, second in took)
    return [
        Row(f"{GUESTS} guests: a play with the role report", whole, "with the survey alone", alone),
        Row("the report beyond the survey", more, "what it may take", MORE, 1.0),
    ]
