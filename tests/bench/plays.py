# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a bench takes place, and two tasks that take turns in one play."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "run"))

import labs
from workshop import COLLECTION, NODE_PYTHON, TREE, Workshop

Task = t.Mapping[str, t.Any]
# The first rounds pay for what Ansible keeps afterwards.
FIRST = 2


@dataclass(frozen=True)
class Place:
    """A lab that is up, ansible-core, a copy of the collection, and a folder for files that the daemon may read."""

    shop: Workshop
    lab: labs.Lab
    folder: Path
    python: Path = NODE_PYTHON

    def modules(self) -> dict[str, str]:
        """The environment in which the node's Python finds what modules import."""
        packages = next((self.shop.controller() / "lib").glob("python*/site-packages"))
        return {**os.environ, "PYTHONPATH": f"{TREE}:{packages}"}


def by_turns(place: Place, ours: Task, theirs: Task, rounds: int) -> tuple[list[float], list[float]]:
    """How long each of two tasks took in each round, in seconds, as seen by the controller."""
    took = timed(place, [("ours", ours), ("theirs", theirs)] * (rounds + FIRST))
    return took["ours"][FIRST:], took["theirs"][FIRST:]


def timed(place: Place, tasks: t.Sequence[tuple[str, Task]]) -> dict[str, list[float]]:
    """How long tasks of one play took, in seconds, by the names that they are given here."""
    durations = place.folder / "durations"
    durations.unlink(missing_ok=True)
    callback = {
        "ANSIBLE_CALLBACKS_ENABLED": "durations",
        "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).with_name("callback")),
        "ANSIBLE_LIBRARY": str(Path(__file__).with_name("library")),
        "BENCH_DURATIONS": str(durations),
    }
    run(place, [{"name": name, **task} for name, task in tasks], callback)
    lines = [json.loads(line) for line in durations.read_text().splitlines()]
    took: dict[str, list[float]] = {name: [] for name, _task in tasks}
    for line in lines:
        took[line["name"]].append(line["seconds"])
    return took


def run(place: Place, tasks: t.Sequence[Task], environment: t.Mapping[str, str] | None = None) -> float:
    """Runs tasks as one play; how long that took as a whole, in seconds.

    Raises:
        LabError: a task failed.
    """
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"ansible_connection": "local", "ansible_python_interpreter": str(place.python)},
        "tasks": list(tasks),
    }
    playbook = place.folder / "play.yml"
    playbook.write_text(json.dumps([play]))
    venv = place.shop.controller()
    env = {
        **place.shop.environment(venv),
        "ANSIBLE_PIPELINING": "False",  # as for those who set nothing
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        **(environment or {}),
    }
    command = [str(venv / "bin" / "ansible-playbook"), str(playbook)]
    began = time.monotonic()
    ran = subprocess.run(command, cwd=COLLECTION, env=env, stdout=subprocess.PIPE, text=True, check=False)
    if ran.returncode:
        raise labs.LabError(f"A task of the bench failed:\n{ran.stdout}")
    return time.monotonic() - began
