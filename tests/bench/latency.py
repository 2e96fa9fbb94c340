# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a wait goes on after the event that ends it, on a real guest: prints a JSON list of seconds.

It runs the module's own code and only looks at a clock when libvirt calls with an event, and when the wait returns.
Usage: latency.py URI DOMAIN ALIAS ROUNDS, with the module's libraries in PYTHONPATH.
"""

from __future__ import annotations

import json
import sys
import time
import typing as t

from ansible_collections.virtmem.libvirt.plugins.module_utils._apply import prepare, whole
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.job import Order, Planned, Running
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.task import Patience
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt import connection as _libvirt
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Declaration, Wish
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import MIB
from ansible_collections.virtmem.libvirt.plugins.module_utils._observe import Observer

SIZES = (384 * MIB, 128 * MIB)


def main(uri: str, domain: str, alias: str, rounds: int) -> None:
    """Resizes up and down."""
    heard: list[float] = []
    ended: list[float] = []
    note, wait = _libvirt.Hypervisor._note, whole.wait

    def noting(*arguments: t.Any, **options: t.Any) -> None:
        heard.append(time.perf_counter())
        note(*arguments, **options)

    def waiting(*arguments: t.Any) -> None:
        wait(*arguments)
        ended.append(time.perf_counter())

    _libvirt.Hypervisor._note, whole.wait = noting, waiting  # type: ignore[method-assign,assignment]
    delays = []
    with _libvirt.connect(uri) as hypervisor:
        for number in range(rounds):
            heard.clear()
            order = Order(domain, Declaration((Wish(alias=alias, requested=SIZES[number % 2]),)))
            # The poll must not be what ends the wait.
            patience = Patience(timeout=60.0, sleep=60.0)
            observer = Observer(hypervisor)
            (job,) = prepare.prepare(observer, [order], patience)
            if isinstance(job, Planned):
                running = Running(job)
                whole.apply(observer, [running], patience)
            error = running.error if isinstance(job, Planned) else job.error
            if error is not None:
                sys.exit(error.msg)
            delays.append(ended[-1] - max(moment for moment in heard if moment <= ended[-1]))
    json.dump(delays, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
