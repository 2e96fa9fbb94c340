# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long the event source takes from libvirt's event to the rulebook's queue: prints a JSON list of seconds.

It runs the source's own code and only looks at a clock when libvirt calls with an event, and when one is in the queue.
Usage: told.py URI DOMAIN ALIAS ROUNDS, with the module's libraries in PYTHONPATH.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
import typing as t

from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt import connection
from ansible_collections.virtmem.libvirt.plugins.plugin_utils import _watch

SIZES = ("384MiB", "128MiB")


async def measure(uri: str, domain: str, alias: str, rounds: int) -> list[float]:
    """Resizes up and down by virsh, and waits each time until the guest has it."""
    heard: list[float] = []
    note = connection.Hypervisor._note

    def noting(*arguments: t.Any, **options: t.Any) -> None:
        heard.append(time.perf_counter())
        note(*arguments, **options)

    connection.Hypervisor._note = noting  # type: ignore[method-assign]
    queue: asyncio.Queue[dict[str, t.Any]] = asyncio.Queue(maxsize=1)
    source = asyncio.create_task(_watch.watch(queue, {"uris": uri, "domains": domain}))
    delays = []

    async def until(kind: str) -> None:
        while True:
            event = (await asyncio.wait_for(queue.get(), 60))["memory"]
            now = time.perf_counter()
            if event["kind"] == "size_changed":
                delays.append(now - max(moment for moment in heard if moment <= now))
            if event["kind"] == kind:
                return

    await until("connected")
    for number in range(rounds):
        change = ["virsh", "-c", uri, "update-memory-device", domain, "--alias", alias]
        change += ["--requested-size", SIZES[number % 2], "--live", "--config"]
        await asyncio.to_thread(subprocess.run, change, check=True, stdout=subprocess.DEVNULL)
        await until("delivered")
    source.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await source
    return delays


if __name__ == "__main__":
    json.dump(asyncio.run(measure(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))), sys.stdout)
