# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bench of memory_device: a task that finds everything as declared, beside the least that a task can do."""

from __future__ import annotations

import plays
from rows import Row, row

ROUNDS = 15
TARGET, AIM = 1.45, 1.2
PING: plays.Task = {"ansible.builtin.ping": {}}
GUEST = "bench"
ALIAS = "ua-vm0"
DEVICE = f"model=virtio-mem,alias={ALIAS},size=1GiB,requested=0,block=2MiB,node=0"


def bench(place: plays.Place) -> list[Row]:
    """On a running guest, whose device has what is requested."""
    place.lab.run("guest", GUEST, "--kind", "empty", "--device", DEVICE)
    device = {"uri": place.lab.uri, "domain": GUEST, "alias": ALIAS, "requested": 0, "size": "1GiB"}
    ours = {"virtmem.libvirt.memory_device": device, "register": "done", "failed_when": "done is changed"}
    bare = {"bare_task": {"uri": place.lab.uri, "domain": GUEST}}
    took = plays.timed(place, [("ours", ours), ("bare", bare), ("ping", PING)] * (ROUNDS + plays.FIRST))
    mine, bare_one, ping = (took[name][plays.FIRST :] for name in ("ours", "bare", "ping"))
    return [
        row("memory_device, nothing to do", mine, "a bare module that reads as often", bare_one, TARGET, aim=AIM),
        row("memory_device, nothing to do", mine, "ansible.builtin.ping", ping),
    ]
