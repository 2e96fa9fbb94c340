# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make bench`: measures what is promised, on a lab that is gone afterwards. Prints ratios; see README.md beside this.

Usage: bench.py [NAME...]
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import types
import typing as t
from pathlib import Path

import events
import fleet
import info
import labs
import layout
import plans
import plays  # first: it makes tests/run importable
import report
import rows
import same
from checks import die
from workshop import Workshop, WorkshopError

# A further bench is a module with a function of a place, and a row here.
BENCHES: t.Mapping[str, t.Callable[[plays.Place], list[rows.Row]]] = {
    "same": same.bench,
    "info": info.bench,
    "layout": layout.bench,
    "plans": plans.bench,
    "events": events.bench,
    "report": report.bench,
    "fleet": fleet.bench,
}

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _end(_number: int, _frame: types.FrameType | None) -> None:
    """Has every `finally` run, so that the lab goes down; a second signal must not cut that short."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit("The bench was interrupted.")


def main(names: t.Sequence[str]) -> None:
    """Measures, and prints the table."""
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        die(f"There is no bench {', '.join(unknown)}; there are {', '.join(BENCHES)}.")
    for number in _SIGNALS:
        signal.signal(number, _end)
    shop = Workshop()
    folder = Path(tempfile.mkdtemp(prefix="virtmem-bench-"))
    folder.chmod(0o755)
    measured: list[rows.Row] = []
    try:
        with shop.alone():
            shop.copy_collection()
            shop.controller()
            with labs.up(labs.HERE, "bench") as lab:
                for name in names or BENCHES:
                    print(f"Measuring {name} ...", flush=True)
                    measured += BENCHES[name](plays.Place(shop, lab, folder))
    finally:
        shutil.rmtree(folder)
        if measured:  # what there is, also if a later one fails
            print(rows.table(measured), flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (WorkshopError, labs.LabError) as error:
        die(str(error))
