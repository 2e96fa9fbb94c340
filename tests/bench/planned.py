# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A task over many domains of the tests' model of libvirt, in a process of its own: what plan and run take.

Usage: planned.py COUNT   prints JSON: the processor time of the plans and of the whole task, in seconds, and the memory
that the process took for the task, in bytes.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import typing as t

from ansible_collections.virtmem.libvirt.plugins.module_utils._apply import prepare
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.job import Order
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.task import Patience
from ansible_collections.virtmem.libvirt.plugins.module_utils._observe import Observer
from ansible_collections.virtmem.libvirt.tests.model import libvirt_model as model
from ansible_collections.virtmem.libvirt.tests.model import tasks

FROM, TO = tasks.GIB, tasks.GIB // 2


def _held() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(count: int) -> None:
    """Plans for all, and then changes all."""
    domains: dict[str, t.Any] = {f"guest{number}": [tasks.vm(requested=FROM)] for number in range(count)}
    host = tasks.libvirt(**domains)
    declared = dict.fromkeys(domains, tasks.requests(TO))
    connection = t.cast("t.Any", model.Connection(host))
    before, began = _held(), time.process_time()
    jobs = prepare.prepare(Observer(connection), [Order(*item) for item in declared.items()], Patience())
    planned = time.process_time() - began
    if not all(job.steps for job in jobs):
        sys.exit("There is nothing to do.")
    del jobs
    began = time.process_time()
    done = tasks.run(host, declared)
    took = time.process_time() - began
    if any(tasks.codes(done)):
        sys.exit(f"It did not go well: {tasks.codes(done)[:3]}")
    json.dump({"planned": planned, "done": took, "memory": _held() - before}, sys.stdout)


main(int(sys.argv[1]))
