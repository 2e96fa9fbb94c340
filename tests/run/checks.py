# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs commands as checks: a line for each that passes, all that it printed for each that fails.

Stages may run beside each other, so what belongs together is printed in one go.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from workshop import LOGS

Command = t.Sequence["str | Path"]

_printing = threading.Lock()
_started = time.monotonic()
_running: set[subprocess.Popen[str]] = set()
_stopping = threading.Event()


class Interrupted(Exception):
    """The run is being ended from outside."""


class Problem(Exception):
    """A check's result is not what it must be; the message says why."""


@dataclass(frozen=True)
class Ran:
    """A finished command: whether it ended well, and all that it printed."""

    ok: bool
    output: str


@dataclass(frozen=True)
class Count:
    """What one command has found, where it stands for many tests."""

    passed: int
    failed: int = 0
    skipped: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()  # the names of those that failed, where they have names


def say(text: str) -> None:
    """Prints whole lines with the time since the start."""
    now = time.monotonic() - _started
    with _printing:
        print(f"{int(now // 60):3d}:{int(now % 60):02d}  {text}", flush=True)


def stop() -> None:
    """Ends everything that runs; no check begins after this."""
    _stopping.set()
    for process in list(_running):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


def execute(command: Command, *, cwd: Path, env: t.Mapping[str, str], limit: float = 900, always: bool = False) -> Ran:
    """Runs a command in a process group of its own.

    Args:
        command: the command.
        cwd: where.
        env: all its variables.
        limit: seconds after which it is ended, and counts as failed.
        always: whether it runs even where the whole run is being ended: cleaning up does.

    Raises:
        Interrupted: the run is being ended.
    """
    if _stopping.is_set() and not always:
        raise Interrupted
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    if not always:
        _running.add(process)
    try:
        output, _nothing = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output, _nothing = process.communicate()
        output += f"\nEnded after {limit:g} s: that is too long.\n"
    finally:
        _running.discard(process)
    if _stopping.is_set() and not always:
        raise Interrupted
    return Ran(process.returncode == 0, output)


# Of the lines that a failed check printed, those that stand once more below everything: some CI systems show no others.
_LINES_AT_THE_END = 12


def _end_of(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines()[-_LINES_AT_THE_END:])


@dataclass
class Tally:
    """What a stage has found so far."""

    stage: str
    passed: int = 0
    failed: int = 0
    skipped: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)  # what failed, each with the end of what it printed
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.log = LOGS / f"{self.stage}.log"
        self.log.write_text("")

    def check(
        self,
        name: str,
        command: Command,
        *,
        cwd: Path,
        env: t.Mapping[str, str],
        count: t.Callable[[Ran], Count] | None = None,
        shown: t.Callable[[str], str] = str.rstrip,
        limit: float = 900,
    ) -> bool:
        """Runs a command and counts it as a test, or as many as it says.

        Args:
            name: what is checked.
            command: the command; what it prints goes to the stage's log.
            cwd: where.
            env: all its variables.
            count: reads from the result how many tests it stands for; may raise Problem.
            shown: what of a failed command's output is worth showing; all of it is in the log.
            limit: seconds that it may take.
        """
        began = time.monotonic()
        ran = execute(command, cwd=cwd, env=env, limit=limit)
        took = time.monotonic() - began
        with self.log.open("a") as log:
            log.write(f"$ {shlex.join(str(word) for word in command)}\n{ran.output}\n")
        problem = ""
        try:
            counted = count(ran) if count else Count(1)
        except Problem as error:
            counted, problem = Count(0, 1), f"{error}\n"
        if not ran.ok and not counted.failed:
            # A tool that fails as a whole has passed nothing that can be relied on.
            counted = Count(0 if count is None else counted.passed, 1, counted.skipped)
        self.passed += counted.passed
        self.failed += counted.failed
        self.skipped += counted.skipped
        numbers = f" ({counted.passed} passed, {counted.failed} failed)" if count else ""
        if counted.failed:
            what = f"$ {shlex.join(str(word) for word in command)}\n{shown(ran.output)}\n{problem}"
            say(f"{self.stage}: {name} FAILED{numbers}, {took:.1f} s\n{what}")
            self.failures.append(f"{': '.join([name, *counted.broken])}\n{_end_of(what)}")
        else:
            say(f"{self.stage}: {name} ok{numbers}, {took:.1f} s")
        return not counted.failed

    def fail(self, name: str, why: str) -> None:
        """Counts something that failed without a command."""
        self.failed += 1
        with self.log.open("a") as log:
            log.write(f"{name}: {why}\n")
        say(f"{self.stage}: {name} FAILED\n{why}")
        self.failures.append(f"{name}\n{_end_of(why)}")

    def ok(self, name: str) -> None:
        """Counts something that passed without a command."""
        self.passed += 1
        say(f"{self.stage}: {name} ok")


def die(text: str) -> t.NoReturn:
    """Ends the program with a message."""
    sys.exit(text)
