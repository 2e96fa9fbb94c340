# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What the person at the terminal sees of a module beside its result: base of the action plugins.

How far the guests are while it waits, and at its end what waits for a restart.

The module runs as ever, once. Beside it, a thread of the worker looks every few seconds, over a connection like the
task's own, into a file that the module writes as long as it waits (module_utils/_progress.py). If that fails, nothing
is shown, and nothing else is different.
"""

from __future__ import annotations

import copy
import json
import os
import secrets
import signal
import sys
import threading
import typing as t

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.utils.display import Display

from ..module_utils._progress import VARIABLE
from ._signals import Forwarder

display = Display()

AUTO, ALWAYS, NEVER = "auto", "always", "never"
# The variables that a user may set, and what they are otherwise; the first one from the environment too.
HOW, AFTER, EVERY = "virtmem_progress", "virtmem_progress_after", "virtmem_progress_every"
FROM_ENVIRONMENT = "VIRTMEM_PROGRESS"
_DEFAULTS = {HOW: AUTO, AFTER: 3, EVERY: 5}
_SECONDS = (1, 3600)
# A module that does not wait yet is looked at again so soon.
_NOT_YET = 2.0
# How Ansible ends a worker, for Ctrl-C too, and how long that waits for a line to be out, in seconds.
_ENDS, _LINE = (signal.SIGINT, signal.SIGTERM), 1.0
# What connections and their libraries raise. Whatever they make of a look, the task goes on.
_TROUBLE = (AnsibleError, OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError)


# ansible-runner, which rulebooks and the Automation Platform run playbooks with, gives Ansible a terminal that nobody
# is at, and this variable.
_OF_RUNNER = "AWX_ISOLATED_DATA_DIR"


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty() and _OF_RUNNER not in os.environ
    except (AttributeError, ValueError):
        return False


# Ansible loads action plugins before it starts the worker, which has no terminal any longer.
_AT_TERMINAL = _is_terminal()


def line(host: str, report: t.Mapping[str, t.Any], columns: int) -> str:
    """What a person sees of a report, in one line: as many of the guests as there is room for.

    Args:
        host: the host's name in the inventory.
        report: what the module tells (module_utils/_apply/tell.py).
        columns: the width of the terminal.
    """
    waiting = [str(guest) for guest in report["waiting"]]
    start = f"waiting: [{host}] => "
    guests = int(report["guests"])
    there = f"{guests - len(waiting)} of {guests} there, " if guests > 1 else ""
    end = f" ({there}{float(report['waited']):.0f} s of {float(report['timeout']):.0f} s)"
    best, told = "", ""
    for shown, guest in enumerate(waiting, 1):
        told += f"; {guest}" if told else guest
        more = f" and {len(waiting) - shown} more" if shown < len(waiting) else ""
        text = f"{start}{told}{more}{end}"
        if shown == 1 or len(text) <= columns:
            best = text
        if len(told) > columns:
            break
    return best or f"{start}{end.strip()}"


def staged(host: str, result: t.Mapping[str, t.Any]) -> str | None:
    """What a person sees of a result that waits for a restart, in one line; None if nothing does.

    Args:
        host: the host's name in the inventory.
        result: the module's result.
    """
    reasons = result.get("restart_reasons") or []
    if not reasons:
        return None
    # Of a layout, each reason begins with its domain.
    domain = (result.get("domain") or {}).get("name")
    more = f" (and {len(reasons) - 1} more, see restart_reasons of the result)" if reasons[1:] else ""
    return f"staged: [{host}] => {domain + ': ' if domain else ''}{reasons[0]}{more}"


class ActionModule(NormalAction):  # type: ignore[misc]  # Ansible has no types
    """The ordinary action, and beside it what tells of the wait, and of what waits for a restart."""

    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Runs the module."""
        after, every, is_shown = self._settings(task_vars or {})
        if not is_shown:
            return t.cast("dict[str, t.Any]", super().run(tmp, task_vars))
        path = f"/tmp/.virtmem-{secrets.token_hex(16)}"  # noqa: S108
        given = self._task.environment  # a dictionary, or a list of them
        self._task.environment = [*(given if isinstance(given, list) else [given] if given else []), {VARIABLE: path}]
        host = (task_vars or {}).get("inventory_hostname", "")
        watcher = _Watcher(self, path, host, after, every)
        if not self._task.check_mode:  # which waits for nothing
            watcher.start()
        try:
            result = t.cast("dict[str, t.Any]", super().run(tmp, task_vars))
        finally:
            watcher.stop()
        text = staged(host, result)
        if text:
            _display(text)
        return result

    def _settings(self, task_vars: dict[str, t.Any]) -> tuple[float, float, bool]:
        """After how many seconds something is shown for the first time, how often, and whether at all."""
        given = {name: self._templar.template(task_vars.get(name, value)) for name, value in _DEFAULTS.items()}
        if HOW not in task_vars and os.environ.get(FROM_ENVIRONMENT):
            given[HOW] = os.environ[FROM_ENVIRONMENT]
        how = given[HOW]
        if isinstance(how, bool):
            how = ALWAYS if how else NEVER
        if how not in (AUTO, ALWAYS, NEVER):
            raise _refused(HOW, how, "is none of auto, always and never", f"{HOW}: auto")
        after, every = (self._seconds(name, given[name]) for name in (AFTER, EVERY))
        # In the background nobody waits; what is not to be logged is not shown either.
        hidden = self._task.async_val or self._task.no_log
        return after, every, not hidden and (how == ALWAYS or (how == AUTO and _AT_TERMINAL))

    @staticmethod
    def _seconds(name: str, value: t.Any) -> float:
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            seconds = -1
        if not _SECONDS[0] <= seconds <= _SECONDS[1]:
            why = f"is not a number of seconds between {_SECONDS[0]} and {_SECONDS[1]}"
            raise _refused(name, value, why, f"{name}: {_DEFAULTS[name]}")
        return seconds

    def beside(self) -> ActionModule:
        """An action like this one, whose connection can be used while the module runs over this one's."""
        other = copy.copy(self)
        other._connection = copy.copy(self._connection)
        # A command that another user runs has a word of its own, by which its output is recognised.
        other._connection.become = copy.copy(self._connection.become)
        return other

    def command(self, line: str) -> dict[str, t.Any]:
        """What a command line of the shell answers, on the way that the module takes: some have no terminal."""
        if self._is_pipelining_enabled("new"):
            answer = self._low_level_execute_command("/bin/sh", in_data=f"{line}\n".encode())
        else:
            answer = self._low_level_execute_command(line)
        return t.cast("dict[str, t.Any]", answer)


def _refused(name: str, value: t.Any, why: str, instead: str) -> AnsibleActionFail:
    msg = f"{name}: {value!r} {why}. Nothing was done. Write {instead}, or leave it out."
    return AnsibleActionFail(msg, result={"error_code": "invalid_option", "details": {"option": name, "value": value}})


def _display(text: str) -> None:
    """Shows a line beside what callbacks print, as JSON for example, and in no log file."""
    display.display(text, color=constants.COLOR_VERBOSE, stderr=True, screen_only=True)


class _Watcher:
    """Looks for the module's word every few seconds, and shows it."""

    def __init__(self, action: ActionModule, path: str, host: str, after: float, every: float) -> None:
        self._action, self._path, self._host = action.beside(), path, host
        self._after, self._every = after, every
        self._ended = threading.Event()
        self._shows = threading.Lock()
        self._handlers: dict[int, t.Any] = {}
        self._forwarder: Forwarder | None = None

    def start(self) -> None:
        """From now on."""
        if threading.current_thread() is threading.main_thread():  # the only one that can have handlers
            found = {number: signal.getsignal(number) for number in _ENDS}
            self._handlers = {
                number: handler for number, handler in found.items() if handler not in (None, signal.SIG_IGN)
            }
            for number in self._handlers:
                signal.signal(number, self._end)
            self._forwarder = Forwarder()
            self._forwarder.start()
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> None:
        """The module has answered. A look that is under way is not waited for, and shows nothing."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._forwarder is not None:
            self._forwarder.stop()
            self._forwarder = None
        with self._shows:
            self._ended.set()

    def _end(self, number: int, frame: t.Any) -> None:
        """Ends the worker as Ansible wants it, but not in the middle of a line.

        A line goes to the parent through a queue whose lock is one of all processes. Who is killed with it in hand
        leaves it taken, and ansible-playbook waits for it for ever.
        """
        if self._shows.acquire(timeout=_LINE):
            self._ended.set()
            self._shows.release()
        handler = self._handlers[number]
        signal.signal(number, handler)
        if callable(handler):
            handler(number, frame)
        else:
            signal.raise_signal(number)

    def _watch(self) -> None:
        pause = self._after
        seen = False
        while not self._ended.wait(pause):
            try:
                report = self._read()
                if report is not None:
                    seen = True
                    self._show(line(self._host, report, display.columns))
            except _TROUBLE as error:
                display.vvv(f"No word of the wait: {error}", host=self._host)
            pause = self._every if seen else min(self._every, _NOT_YET)

    def _read(self) -> dict[str, t.Any] | None:
        answer = self._action.command(f"cat {self._path}")
        if answer.get("rc") != 0:
            return None
        # A terminal on the way may add lines of its own.
        text = next((text for text in answer["stdout"].splitlines() if text.startswith("{")), "null")
        return t.cast("dict[str, t.Any] | None", json.loads(text))

    def _show(self, text: str) -> None:
        with self._shows:
            if not self._ended.is_set():
                _display(text)
