# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a bench answers: two durations of the same run, and what is made of them."""

from __future__ import annotations

import statistics
import typing as t
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """This took so long beside that, in seconds; or was so large, in bytes."""

    what: str
    ours: float
    beside: str
    theirs: float
    target: float | None = None  # the ratio to hold, where there is one
    ratio: float | None = None  # where it is not that of the two durations
    in_bytes: bool = False
    aim: float | None = None  # the ratio that was aimed at and missed; guide_numbers.rst says why

    def cells(self) -> tuple[str, ...]:
        """The row for people."""
        ratio = self.ours / self.theirs if self.ratio is None else self.ratio
        held = "" if self.target is None else f"at most {self.target:g}" + ("" if ratio <= self.target else ": MISSED")
        if self.aim is not None and ratio > self.aim:
            held += f" (aim {self.aim:g})"
        show = _show_bytes if self.in_bytes else _show
        return (self.what, show(self.ours), self.beside, show(self.theirs), f"{ratio:.2f}", held)


def _show(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1e6:.0f} us"


def _show_bytes(size: float) -> str:
    return f"{size / 1024:.1f} KiB"


def row(
    what: str,
    ours: t.Sequence[float],
    beside: str,
    theirs: t.Sequence[float],
    target: float | None = None,
    least: bool = False,
    aim: float | None = None,
) -> Row:
    """A row of many rounds, each of which did both, so that a busy machine slows both down.

    Args:
        what: what is measured.
        ours: how long it took in each round.
        beside: what it is compared with.
        theirs: how long that took in each round.
        target: the ratio to hold.
        aim: the ratio that was aimed at, if it was missed.
        least: compare the quickest of each, not the middle: for what other programs disturb more than it takes.
    """
    if least:
        return Row(what, min(ours), beside, min(theirs), target, aim=aim)
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    return Row(what, statistics.median(ours), beside, statistics.median(theirs), target, ratio, aim=aim)


def table(rows: t.Sequence[Row]) -> str:
    """All rows, aligned."""
    head = ("what", "took", "beside", "took", "ratio", "to hold")
    lines = [head, *(item.cells() for item in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
