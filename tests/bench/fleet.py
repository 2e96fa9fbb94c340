# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bench of a fleet: what the controller takes for each hypervisor, of few and of many.

The hypervisors of `size` are one daemon of the lab, of which each sizes a stopped guest, and surveys all; those of
`report` have ten domains each of libvirt's test driver. All their modules run on this machine, so only the controller's
own process is measured: its processor time, its memory, and the weight of the results that it holds.
"""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

import definitions
import labs
import plays
from rows import Row
from workshop import COLLECTION, NODE_PYTHON

FEW, MANY = 50, 200
FORKS = 50
DOMAINS = 10
# What is for each host may not be more with many of them, but for what a busy machine disturbs.
TARGET = 1.2
GUEST = "fleet"


def bench(place: plays.Place) -> list[Row]:
    """Both playbooks, with few hosts and with many."""
    place.lab.run("guests", GUEST, str(MANY), "--stopped", "--no-max-memory")
    file = place.folder / "fleet.xml"
    definitions.write(file, DOMAINS)
    # Else the survey of the later play would find more than that of the earlier.
    _play(place, "size", MANY, file, "1GiB")
    rows = []
    for name in ("size", "report"):
        few, many = (_play(place, name, count, file, memory) for count, memory in ((FEW, "2GiB"), (MANY, "3GiB")))
        rows.append(Row(f"{name}: controller's time for a host of {MANY}", many[0], f"of {FEW}", few[0], TARGET))
        rows.append(
            Row(
                f"{name}: memory for each host more",
                (many[1] - few[1]) / (MANY - FEW),
                "a MiB",
                2**20,
                None,
                None,
                True,
            )
        )
        rows.append(Row(f"{name}: results of a host of {MANY}", many[2], f"of {FEW}", few[2], TARGET, None, True))
    return rows


def _play(place: plays.Place, name: str, count: int, file: Path, memory: str) -> tuple[float, float, float]:
    """Runs a playbook once over so many hosts, which declares so much memory for each guest.

    Returns:
        The controller's processor time for a host in seconds, its memory in bytes, the bytes of results of a host.

    Raises:
        LabError: the playbook failed.
    """
    hosts = {
        f"hv{number}": {
            "sizing_domains": [{"name": f"{GUEST}{number}", "memory": memory, "max_memory": "4GiB", "resize": "any"}],
            "report_uri": f"test://{file}",
        }
        for number in range(1, count + 1)
    }
    shared = {
        "ansible_connection": "local",
        "ansible_python_interpreter": str(NODE_PYTHON),
        "sizing_uri": place.lab.uri,
        "report_dir": str(place.folder / f"report-{count}"),
    }
    inventory = place.folder / "fleet.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": shared}}))
    weights = place.folder / "weights"
    weights.unlink(missing_ok=True)
    venv = place.shop.controller()
    env = {
        **place.shop.environment(venv),
        "ANSIBLE_CALLBACKS_ENABLED": "weights",
        "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).with_name("callback")),
        "BENCH_WEIGHTS": str(weights),
    }
    command = [str(venv / "bin" / "ansible-playbook"), "--forks", str(FORKS), "--inventory", str(inventory)]
    ran = subprocess.run(
        [*command, f"virtmem.libvirt.{name}"], cwd=COLLECTION, env=env, stdout=subprocess.PIPE, text=True, check=False
    )
    if ran.returncode:
        raise labs.LabError(f"The playbook {name} failed:\n{ran.stdout[-4000:]}")
    found: dict[str, t.Any] = json.loads(weights.read_text())
    return found["seconds"] / count, found["memory"], found["results"] / count
