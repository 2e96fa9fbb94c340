# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kills a play while its guest has more memory than before, and sees that the guest is set back all the same.

Usage: cut_off.py LAB DOMAIN COMMAND [ARGUMENT ...]; LAB is an executable with the lab's commands.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
import typing as t

LIMIT = 90.0


def _requested(lab: str, domain: str) -> tuple[list[str], ...]:
    """What is requested of its devices, in KiB: in the running guest, and in its configuration."""
    found = []
    for options in ([], ["--inactive"]):
        xml = subprocess.run(
            [lab, "virsh", "dumpxml", domain, *options], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        found.append(re.findall(r"<requested unit='KiB'>(\d+)<", xml))
    return tuple(found)


def _until(what: str, holds: t.Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not holds():
        if time.monotonic() > end:
            sys.exit(f"After {LIMIT:.0f} s, {what} is not so.")
        time.sleep(0.2)


def main(lab: str, domain: str, *command: str) -> None:
    """Ends with a message if anything is not as it must be."""
    before = _requested(lab, domain)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as play:
        try:
            _until("a guest with other memory than before", lambda: _requested(lab, domain) != before)
        finally:
            play.kill()
    print(f"Killed with {_requested(lab, domain)} KiB requested.")
    _until(f"a guest that has {before} KiB again", lambda: _requested(lab, domain) == before)
    print(f"Set back to {before} KiB.")


if __name__ == "__main__":
    main(*sys.argv[1:])
