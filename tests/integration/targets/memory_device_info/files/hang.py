# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stops a guest's QEMU for a while in the middle of a call, so that the domain is held by a job.

Usage: hang.py URI DOMAIN
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import libvirt
import libvirt_qemu

SECONDS = 15


def process(uuid: str) -> int:
    """The QEMU of the domain, by its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"qemu" in words[0] and uuid.encode() in words:
            return int(path.parent.name)
    raise SystemExit(f"There is no QEMU with the UUID {uuid}.")


def main() -> None:
    """Holds the domain, and lets go of it."""
    domain = libvirt.open(sys.argv[1]).lookupByName(sys.argv[2])
    pid = process(domain.UUIDString())
    os.kill(pid, signal.SIGSTOP)
    try:
        question = (domain, '{"execute": "query-status"}', 0)
        threading.Thread(target=libvirt_qemu.qemuMonitorCommand, args=question, daemon=True).start()
        time.sleep(SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)
    time.sleep(1)


main()
