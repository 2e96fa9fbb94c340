# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bench of memory_layout: many guests in one task, beside a script, beside the loops of today, and one by one.

Guests without an operating system take a request and never answer, which leaves the time of the requests alone.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import typing as t
from pathlib import Path

import labs
import plays
from rows import Row, row

GUESTS, ROUNDS = 40, 7
REAL = 8
WAITS = 100
TARGET_TASK, TARGET_ALONE, AIM = 1.5, 1.7, 1.3  # beside a script
TARGET_LOOP = 1 / 20
TARGET_NUMBER = 1.1
# Whether many take each what few take each.
COUNTS = (10, 40, 160)
TARGET_LINEAR = 1.2
# What the guests boot with.
BOOT = 256
TARGET_DELAY = 0.010  # seconds, of 95 in 100 waits
ALIAS = "ua-vm0"
HERE = Path(__file__).resolve().parent


def _device(requested: str) -> str:
    return f"model=virtio-mem,alias={ALIAS},size=1GiB,requested={requested},block=2MiB,node=0"


def _names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(1, count + 1)]


def _layout(place: plays.Place, names: t.Sequence[str], requested: str, wait: bool) -> plays.Task:
    devices = [{"alias": ALIAS, "requested": requested}]
    options = {
        "uri": place.lab.uri,
        "wait": wait,
        "domains": [{"name": name, "devices": devices} for name in names],
    }
    return {"virtmem.libvirt.memory_layout": options, "register": "done", "failed_when": "done is not changed"}


def _script(place: plays.Place, requested_kib: int) -> list[str]:
    words = [place.lab.uri, "bench-layout", str(GUESTS), str(requested_kib)]
    return [str(place.python), str(HERE / "bare_layout.py"), *words]


def _module_alone(place: plays.Place, requested: str, prefix: str = "bench-layout", count: int = GUESTS) -> float:
    """The module's own duration, as it tells it, without Ansible around it."""
    names = _names(prefix, count)
    (options,) = (task for name, task in _layout(place, names, requested, False).items() if name.startswith("virtmem"))
    return _duration(place, options)


def _by_number(place: plays.Place, requested: int) -> float:
    """The same by what each guest is to have in all, with so many MiB requested in the end."""
    domains = [{"name": name, "memory": f"{BOOT + requested}MiB"} for name in _names("bench-layout", GUESTS)]
    return _duration(place, {"uri": place.lab.uri, "wait": False, "domains": domains})


def _beside_devices(place: plays.Place) -> list[Row]:
    ours, theirs = [], []
    for _round in range(ROUNDS):
        ours.append(_by_number(place, 256))
        theirs.append(_module_alone(place, "128MiB"))
    what = f"memory_layout, {GUESTS} guests by memory, without Ansible"
    return [row(what, ours, "the same by their devices", theirs, TARGET_NUMBER)]


def _linear(place: plays.Place) -> list[Row]:
    """Few, some and many of the same guests, by turns."""
    took: dict[int, list[float]] = {count: [] for count in COUNTS}
    for number in range(ROUNDS):
        for turn, count in enumerate(reversed(COUNTS), 1):  # each asks for what none of the guests has yet
            requested = f"{2 * (number * len(COUNTS) + turn)}MiB"
            took[count].append(_module_alone(place, requested, "bench-many", count) / count)
    return [
        row(f"memory_layout, a guest of {many}", took[many], f"a guest of {few}", took[few], TARGET_LINEAR)
        for few, many in itertools.pairwise(COUNTS)
    ]


def _duration(place: plays.Place, options: t.Mapping[str, t.Any]) -> float:
    module = "ansible_collections.virtmem.libvirt.plugins.modules.memory_layout"
    told = _output([str(place.python), "-m", module], place.modules(), json.dumps({"ANSIBLE_MODULE_ARGS": options}))
    result = json.loads(told)
    if not result["changed"]:
        raise labs.LabError(f"memory_layout has changed nothing: {told}")
    duration: float = result["duration"]
    return duration


def _output(command: t.Sequence[str], env: t.Mapping[str, str] | None = None, text: str = "") -> str:
    ran = subprocess.run(command, env=env, input=text, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise labs.LabError(f"{command[1:3]} failed:\n{ran.stdout}{ran.stderr}")
    return ran.stdout


def _beside_a_script(place: plays.Place) -> list[Row]:
    ours, theirs = [], []
    for _round in range(ROUNDS):
        ours.append(_module_alone(place, "256MiB"))
        theirs.append(float(_output(_script(place, 128 * 1024))))
    names = _names("bench-layout", GUESTS)
    task = {"ansible.builtin.command": {"argv": _script(place, 128 * 1024)}}
    tasks = plays.by_turns(place, _layout(place, names, "256MiB", False), task, ROUNDS)
    what, beside = f"memory_layout, {GUESTS} guests", "a bare script of the same calls"
    return [
        row(f"{what}, the task", tasks[0], f"{beside}, as a task", tasks[1], TARGET_TASK, aim=AIM),
        row(f"{what}, without Ansible", ours, beside, theirs, TARGET_ALONE, aim=AIM),
    ]


def _virsh(place: plays.Place, *words: str) -> plays.Task:
    return {"ansible.builtin.command": {"argv": ["virsh", "-c", place.lab.uri, *words]}, "changed_when": True}


def _beside_virsh(place: plays.Place) -> list[Row]:
    """The usual playbook: a loop for each scope, and one that asks for the XML until it has the new request."""
    names = _names("bench-layout", GUESTS)
    change = ["update-memory-device", "{{ item }}", "--alias", ALIAS, "--requested-size", "128MiB"]
    poll = {
        **_virsh(place, "dumpxml", "{{ item }}"),
        "register": "xml",
        "until": "\"<requested unit='KiB'>131072</requested>\" in xml.stdout",
        "retries": 60,
        "delay": 1,
    }
    theirs = [
        {**task, "loop": names} for task in (_virsh(place, *change, "--live"), _virsh(place, *change, "--config"), poll)
    ]
    took = plays.timed(
        place, [("ours", _layout(place, names, "256MiB", False)), *(("theirs", task) for task in theirs)]
    )
    return [
        row(
            f"memory_layout, {GUESTS} guests",
            [sum(took["ours"])],
            "loops over virsh, and polls",
            [sum(took["theirs"])],
            TARGET_LOOP,
        )
    ]


def _together(place: plays.Place) -> list[Row]:
    names = _names("bench-real", REAL)
    one = {"uri": place.lab.uri, "domain": "{{ item }}", "alias": ALIAS, "requested": "128MiB"}
    turns = [
        ("ours", _layout(place, names, "384MiB", True)),
        ("theirs", {"virtmem.libvirt.memory_device": one, "loop": names}),
    ]
    took = plays.timed(place, turns * 3)
    return [row(f"memory_layout, {REAL} guests that answer", took["ours"], "one after the other", took["theirs"])]


def _delays(place: plays.Place) -> list[Row]:
    command = [str(place.python), str(HERE / "latency.py"), place.lab.uri, "bench-real1", ALIAS, str(WAITS)]
    delays = json.loads(_output(command, place.modules()))
    late = statistics.quantiles(delays, n=20)[-1]
    return [row(f"the last event to the wait's end, 95th of 100 ({WAITS} waits)", [late], "10 ms", [TARGET_DELAY], 1.0)]


def bench(place: plays.Place) -> list[Row]:
    """Everything about many guests."""
    many = ["guests", "bench-layout", str(GUESTS), "--memory", f"{BOOT}MiB", "--ports", "2"]
    place.lab.run(*many, "--device", _device("128MiB"))
    measured = _beside_a_script(place) + _beside_devices(place) + _beside_virsh(place)
    place.lab.run("delete", *_names("bench-layout", GUESTS))
    many = ["guests", "bench-many", str(COUNTS[-1]), "--memory", f"{BOOT}MiB", "--ports", "2"]
    place.lab.run(*many, "--device", _device("0"))
    measured += _linear(place)
    place.lab.run("delete", *_names("bench-many", COUNTS[-1]))
    real = ["guests", "bench-real", str(REAL), "--kind", "driver", "--memory", "256MiB", "--ports", "2"]
    place.lab.run(*real, "--device", _device("128MiB"))
    measured += _together(place)
    place.lab.run("delete", *_names("bench-real", REAL)[1:])
    return measured + _delays(place)
