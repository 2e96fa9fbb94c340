# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""memory_device_info's pass over many domains beside the bare loop, on one open connection, in this process.

Usage: passes.py ROUNDS URI...   prints JSON: for each URI the durations of both, in seconds.
"""

from __future__ import annotations

import json
import sys
import time
import typing as t

import bare
import libvirt
from ansible_collections.virtmem.libvirt.plugins.module_utils import _module
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt import connection as _libvirt
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.inventory.results import Selection

PARAMS = {"uri": "", "domains": None, "timeout": 10.0, "guest": False}


def ours(hypervisor: _libvirt.Hypervisor) -> int:
    """The whole pass as the module does it, with drift and sums; the number of domains."""
    told: dict[str, t.Any] = {"domains": []}
    _module._inventory(hypervisor, PARAMS, Selection(), told)
    return len(told["domains"])


def timed(work: t.Callable[[], int]) -> float:
    """How long it took."""
    started = time.perf_counter()
    if not work():
        raise SystemExit("There is nothing to measure.")
    return time.perf_counter() - started


def main() -> None:
    """Both by turns."""
    rounds, measured = int(sys.argv[1]), []
    for uri in sys.argv[2:]:
        connection = libvirt.openReadOnly(uri)
        with _libvirt.connect(uri, read_only=True) as hypervisor:
            pairs = [
                (timed(lambda: ours(hypervisor)), timed(lambda: bare.loop(connection)))  # noqa: B023 - called at once
                for _round in range(rounds)
            ]
        connection.close()
        measured.append({"ours": [pair[0] for pair in pairs], "bare": [pair[1] for pair in pairs]})
    json.dump(measured, sys.stdout)


main()
