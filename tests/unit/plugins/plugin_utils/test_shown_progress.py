# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a person sees of a wait: the line, and the settings. tests/faults/test_progress.py has whole plays."""

from __future__ import annotations

import json
import select
import signal
import threading
import time
import typing as t

import pytest

pytest.importorskip("jinja2")  # what only a controller has

from ansible.errors import AnsibleActionFail
from ansible_collections.virtmem.libvirt.plugins.plugin_utils import _progress


def report(*waiting: str, guests: int = 1) -> dict[str, t.Any]:
    """A word of a module."""
    return {"waited": 7.6, "timeout": 120.0, "guests": guests, "waiting": list(waiting)}


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (report("web1 0 of 2GiB"), "waiting: [hv1] => web1 0 of 2GiB (8 s of 120 s)"),
        (
            report("web1 0 of 2GiB", "db1 1GiB of 8GiB", guests=5),
            "waiting: [hv1] => web1 0 of 2GiB; db1 1GiB of 8GiB (3 of 5 there, 8 s of 120 s)",
        ),
        (
            report(*(f"web{number} 0 of 2GiB" for number in range(40)), guests=40),
            "waiting: [hv1] => web0 0 of 2GiB and 39 more (0 of 40 there, 8 s of 120 s)",
        ),
        # All of them, where the last one takes no more than what says that it is missing.
        (
            report("web1 0 of 2GiB", "a 0 of 1GiB", guests=2),
            "waiting: [hv1] => web1 0 of 2GiB; a 0 of 1GiB (0 of 2 there, 8 s of 120 s)",
        ),
        # One is shown, however long it is.
        (report("x" * 90), f"waiting: [hv1] => {'x' * 90} (8 s of 120 s)"),
    ],
)
def test_the_line(told: dict[str, t.Any], line: str) -> None:
    assert _progress.line("hv1", told, 79) == line


class _Templar:
    def template(self, value: t.Any) -> t.Any:
        return value


class _Task:
    async_val = 0
    no_log = False
    check_mode = False
    environment: t.ClassVar[list[t.Any]] = []


def action(**task: t.Any) -> t.Any:
    """An action without a connection."""
    made = object.__new__(_progress.ActionModule)
    made._templar, made._task = _Templar(), _Task()
    for name, value in task.items():
        setattr(made._task, name, value)
    return made


@pytest.mark.parametrize(
    ("variables", "environment", "terminal", "shown"),
    [
        ({}, None, True, (3, 5)),
        ({}, None, False, None),
        ({}, "always", False, (3, 5)),
        ({}, "never", True, None),
        ({"virtmem_progress": "auto"}, "always", False, None),
        ({"virtmem_progress": True}, None, False, (3, 5)),
        ({"virtmem_progress": False}, None, True, None),
        ({"virtmem_progress_after": "10", "virtmem_progress_every": 60}, None, True, (10, 60)),
    ],
)
def test_settings(
    variables: dict[str, t.Any],
    environment: str | None,
    terminal: bool,
    shown: tuple[float, float] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_progress, "_AT_TERMINAL", terminal)
    monkeypatch.delenv(_progress.FROM_ENVIRONMENT, raising=False)
    if environment is not None:
        monkeypatch.setenv(_progress.FROM_ENVIRONMENT, environment)
    after, every, is_shown = action()._settings(variables)
    assert ((after, every) if is_shown else None) == shown


class _Terminal:
    def isatty(self) -> bool:
        return True


def test_a_terminal_of_ansible_runner_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_progress.sys, "stderr", _Terminal())
    monkeypatch.delenv("AWX_ISOLATED_DATA_DIR", raising=False)
    assert _progress._is_terminal()
    monkeypatch.setenv("AWX_ISOLATED_DATA_DIR", "/runner/artifacts/1")
    assert not _progress._is_terminal()


@pytest.mark.parametrize("task", [{"async_val": 60}, {"no_log": True}], ids=str)
def test_who_sees_nothing_whatever_is_set(task: dict[str, t.Any]) -> None:
    assert action(**task)._settings({"virtmem_progress": "always"})[2] is False


class _Looks:
    """An action whose every look finds a guest that waits."""

    def beside(self) -> _Looks:
        return self

    def command(self, _line: str) -> dict[str, t.Any]:
        return {"rc": 0, "stdout": json.dumps(report("web1 0 of 2GiB"))}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_the_worker_waits_for_the_line_that_is_half_out(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a line goes through has a lock of all of Ansible's processes: a worker that dies with it stops them all."""
    events: list[str] = []
    begun = threading.Event()

    def show(_text: str) -> None:
        begun.set()
        time.sleep(0.2)
        events.append("line")

    def end(_number: int, _frame: t.Any) -> None:
        events.append("end")

    monkeypatch.setattr(_progress, "_display", show)
    before = signal.signal(number, end)
    try:
        watcher = _progress._Watcher(t.cast("_progress.ActionModule", _Looks()), "/tmp/none", "hv1", 0.01, 0.01)
        watcher.start()
        assert begun.wait(10)
        signal.raise_signal(number)
        time.sleep(0.3)
        assert events == ["line", "end"]
        watcher.stop()
        assert signal.getsignal(number) is end
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGALRM])
def test_a_signal_that_another_thread_takes_comes_through(number: signal.Signals) -> None:
    """On a busy machine Linux hands Ctrl-C to a thread beside the main one, which waits for the module."""
    ends: list[float] = []
    before = signal.signal(number, lambda _number, _frame: ends.append(time.monotonic()))
    wake, wakes_by = signal.getsignal(signal.SIGURG), signal.set_wakeup_fd(-1)
    try:
        watcher = _progress._Watcher(t.cast("_progress.ActionModule", _Looks()), "/tmp/none", "hv1", 60, 60)
        watcher.start()
        beside = threading.Thread(target=time.sleep, args=(2,))
        beside.start()
        ident = t.cast("int", beside.ident)
        threading.Timer(0.2, signal.pthread_kill, (ident, number)).start()
        began = time.monotonic()
        select.poll().poll(3000)
        assert time.monotonic() - began > 2.9
        watcher.stop()
        beside.join()
        assert len(ends) == 1, ends
        assert ends[0] - began < 1
        assert signal.getsignal(signal.SIGURG) == wake
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(number, before)
        signal.set_wakeup_fd(wakes_by)


@pytest.mark.parametrize(
    ("result", "line"),
    [
        ({}, None),
        ({"restart_reasons": [], "domain": {"name": "web1"}}, None),
        ({"restart_reasons": ["It grows then."], "domain": {"name": "web1"}}, "staged: [hv1] => web1: It grows then."),
        (
            {"restart_reasons": ["web1: It grows then.", "db1: So does this.", "db2: And this."]},
            "staged: [hv1] => web1: It grows then. (and 2 more, see restart_reasons of the result)",
        ),
    ],
)
def test_what_waits_for_a_restart(result: dict[str, t.Any], line: str | None) -> None:
    assert _progress.staged("hv1", result) == line


@pytest.mark.parametrize(
    ("variables", "way_out"),
    [
        ({"virtmem_progress": "yess"}, "virtmem_progress: auto"),
        ({"virtmem_progress_after": 0}, "virtmem_progress_after: 3"),
        ({"virtmem_progress_every": "soon"}, "virtmem_progress_every: 5"),
        ({"virtmem_progress_every": None}, "virtmem_progress_every: 5"),
        ({"virtmem_progress_every": "nan"}, "virtmem_progress_every: 5"),
    ],
)
def test_a_setting_that_is_none_is_refused_before_anything_is_done(variables: dict[str, t.Any], way_out: str) -> None:
    [(name, value)] = variables.items()
    with pytest.raises(AnsibleActionFail) as refused:
        action()._settings(variables)
    assert f"{name}: {value!r}" in refused.value.message
    assert way_out in refused.value.message
    assert refused.value.result["error_code"] == "invalid_option"
