# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make demo`: the playbook virtmem.libvirt.demo on real guests of a lab that is gone afterwards."""

from __future__ import annotations

import concurrent.futures
import json
import signal
import subprocess
import sys
import types
from pathlib import Path

import labs
from checks import Command, die
from workshop import COLLECTION, Workshop, WorkshopError

GUEST = "demo"
WITHOUT_DRIVER = "demo-without-driver"

DEVICE = "model=virtio-mem,alias=ua-vm0,size=4GiB,requested=256MiB,block=2MiB,node=0"

# For people who read what it prints: no skipped tasks, results as YAML, no warnings that are not about the demo.
QUIET = {
    "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
    "ANSIBLE_DEPRECATION_WARNINGS": "false",
    "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
    "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
    "ANSIBLE_LOCALHOST_WARNING": "false",
}


def boot(lab: labs.Lab) -> None:
    """Both guests, at the same time."""
    wanted = {GUEST: "driver", WITHOUT_DRIVER: "nodriver"}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        booting = [
            pool.submit(lab.run, "guest", name, "--kind", kind, "--balloon", "virtio", "--device", DEVICE)
            for name, kind in wanted.items()
        ]
        for guest in booting:
            guest.result()


def playbook(venv: Path, lab: labs.Lab) -> Command:
    """The command that shows it."""
    variables = {
        "demo_uri": lab.uri,
        "demo_guest": GUEST,
        "demo_guest_without_driver": WITHOUT_DRIVER,
        "demo_memtotal_command": [str(lab.command), "memtotal"],
    }
    return [venv / "bin" / "ansible-playbook", "virtmem.libvirt.demo", "--extra-vars", json.dumps(variables)]


def _play(shop: Workshop, lab: labs.Lab) -> int:
    venv = shop.controller()
    env = {**shop.environment(venv), **QUIET}
    if sys.stdout.isatty():
        env.pop("NO_COLOR")
    command = [str(word) for word in playbook(venv, lab)]
    return subprocess.run(command, cwd=COLLECTION, env=env, stdin=subprocess.DEVNULL, check=False).returncode


def _end(_number: int, _frame: types.FrameType | None) -> None:
    """Has every `finally` run, so that the lab goes down."""
    sys.exit("The demo was interrupted.")


def main() -> int:
    """Shows it; the exit code is the playbook's."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    shop = Workshop()
    with shop.alone():
        print("Preparing ansible-core and a copy of the collection (in .cache) ...", flush=True)
        shop.copy_collection()
        shop.controller()
        print("Starting a libvirtd of its own, and two Linux guests under plain emulation ...", flush=True)
        with labs.up(labs.HERE, "demo") as lab:
            boot(lab)
            result = _play(shop, lab)
            print("Taking the lab down ...", flush=True)
    print("Done; nothing of it is left but .cache.")
    return result


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (WorkshopError, labs.LabError) as error:
        die(str(error))
