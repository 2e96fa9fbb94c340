# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the stages of `make test` and sums up. The last line is `N passed, N failed`, for those who count.

Usage: run.py [STAGE ...]; without any, all but those that must be named.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
import traceback
import typing as t

from checks import Interrupted, Tally, die, say, stop
from stages import STAGES, Stage
from workshop import Workshop, WorkshopError, show


def _run_stage(stage: Stage, shop: Workshop, tally: Tally) -> None:
    """One stage; whatever goes wrong in it is counted, so that the others go on."""
    began = time.monotonic()
    say(f"{stage.name}: begins ({stage.what})")
    try:
        stage.run(shop, tally)
        if not tally.passed and not tally.failed:
            tally.fail("the stage", "It has checked nothing.")
    except Interrupted:
        tally.fail("the stage", "It was interrupted.")
    except WorkshopError as error:
        tally.fail("the stage", str(error))
    except Exception:  # noqa: BLE001 - a fault of a stage is a failure of that stage, and must be seen
        tally.fail("the stage", traceback.format_exc())
    tally.seconds = time.monotonic() - began


def _run_lane(stages: t.Sequence[Stage], shop: Workshop, tallies: t.Mapping[str, Tally]) -> None:
    for stage in stages:
        _run_stage(stage, shop, tallies[stage.name])


def _chosen(names: t.Sequence[str]) -> list[Stage]:
    known = [stage.name for stage in STAGES]
    if unknown := [name for name in names if name not in known]:
        die(f"There is no stage {', '.join(unknown)}; there are {', '.join(known)}.")
    return [stage for stage in STAGES if (stage.name in names if names else not stage.named)]


def _summary(stages: t.Sequence[Stage], tallies: t.Mapping[str, Tally], seconds: float) -> int:
    print(f"\n{'stage':<22} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
    for stage in stages:
        tally = tallies[stage.name]
        print(f"{stage.name:<22} {tally.passed:>7} {tally.failed:>7} {len(tally.skipped):>8} {tally.seconds:>8.0f}")
    for stage in stages:
        for what in tallies[stage.name].skipped:
            print(f"skipped in {stage.name}: {what}")
    for stage in stages:
        for what in tallies[stage.name].failures:
            print(f"failed in {stage.name}: {what}")
    passed = sum(tallies[stage.name].passed for stage in stages)
    failed = sum(tallies[stage.name].failed for stage in stages)
    print(
        f"{seconds:.0f} s in all; what the tools printed is in .cache/logs.\n\n{passed} passed, {failed} failed",
        flush=True,
    )
    return 1 if failed else 0


def main() -> int:
    """Runs what was asked for; 1 if anything failed."""
    stages = _chosen(sys.argv[1:])
    began = time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: stop())
    shop = Workshop()
    with shop.alone():
        shop.copy_collection()
        python = shop.controller_python()
        say(f"Python for the tools: {python}; found: {', '.join(show(version) for version in shop.pythons)}")
        tallies = {stage.name: Tally(stage.name) for stage in stages}
        lanes: dict[str, list[Stage]] = {}
        for stage in stages:
            lanes.setdefault(stage.lane, []).append(stage)
        threads = [threading.Thread(target=_run_lane, args=(lane, shop, tallies)) for lane in lanes.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return _summary(stages, tallies, time.monotonic() - began)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except WorkshopError as error:
        die(str(error))
