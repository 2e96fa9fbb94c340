# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a person at a terminal sees of a task that waits: over every connection, and to nobody's harm."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import pwd
import re
import signal
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import sshd
from conftest import ansible
from faultlab import ALIAS, MIB, Lab, Runner, until
from test_interrupted import modules

LINE = re.compile(r"waiting: \[(\w+)\] => idle 0 of 128MiB(, unmoved \d+ s)? \(\d+ s of (\d+) s\)")
# What it does not take three seconds to see.
SOON = {"virtmem_progress_after": 1, "virtmem_progress_every": 1}


class Book:
    """A play of one task over an inventory of its own, on a guest that never answers."""

    def __init__(self, folder: Path, tree: Path, uri: str, domain: str) -> None:
        self.folder, self.tree, self.uri, self.domain = folder, tree, uri, domain
        self.others = folder / "others"  # where everybody may write
        self.others.mkdir()
        self.others.chmod(0o777)
        # What is told of the wait takes nothing from a task's own environment: here libvirt leaves its log.
        self.environment = {"LIBVIRT_LOG_OUTPUTS": f"1:file:{self.others}/log-{{{{ inventory_hostname }}}}"}

    def start(
        self,
        hosts: t.Mapping[str, t.Mapping[str, t.Any]],
        timeout: int,
        task: t.Mapping[str, t.Any] | None = None,
        options: t.Sequence[str] = (),
        environment: t.Mapping[str, str] | None = None,
        **how: t.Any,
    ) -> subprocess.Popen[str]:
        """Starts it, as the leader of a process group."""
        everywhere = {"ansible_python_interpreter": "/usr/bin/python3", "ansible_connection": "local", **SOON}

        inventory = {"all": {"vars": everywhere, "hosts": dict(hosts)}}
        arguments = {
            "uri": self.uri,
            "domain": self.domain,
            "alias": ALIAS,
            "requested": "128MiB",
            "scope": "live",
            "wait_timeout": timeout,
            "wait": "{{ waits | default(true) }}",
        }
        task = {"environment": self.environment, **(task or {})}
        tasks = [{"name": "The task", "virtmem.libvirt.memory_device": arguments, **task}]
        (self.folder / "hosts.yml").write_text(json.dumps(inventory))
        (self.folder / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        streams: dict[str, t.Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
        return subprocess.Popen(
            [Path(sys.executable).parent / "ansible-playbook", "-i", "hosts.yml", *options, "play.yml"],
            env={**ansible(self.tree), **(environment or {})},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            **streams,
        )

    def seen(
        self,
        hosts: t.Mapping[str, t.Mapping[str, t.Any]],
        timeout: int,
        task: t.Mapping[str, t.Any] | None = None,
        options: t.Sequence[str] = (),
    ) -> tuple[str, str]:
        """What it printed, and what it said beside that, if whoever runs it asks for progress."""
        process = self.start(hosts, timeout, task, options, {"VIRTMEM_PROGRESS": "always"})
        return process.communicate(timeout=120)


@pytest.fixture
def book(short: Path, tree: Path, lab: Lab, idle: str) -> t.Iterator[Book]:
    """Plays of one task."""
    before = set(Path("/tmp").glob(".virtmem-*"))
    yield Book(short, tree, lab.uri, idle)
    until(lambda: set(Path("/tmp").glob(".virtmem-*")) <= before, "the end of the modules' words", 10)


def told(text: str) -> dict[str, int]:
    """How many lines of progress each host has."""
    hosts = [found.group(1) for found in LINE.finditer(text)]
    return {host: hosts.count(host) for host in hosts}


def over_ssh(reached: str, **more: t.Any) -> dict[str, t.Any]:
    """The variables of a host that is reached as this URI of libvirt is."""
    place = urlsplit(reached)
    asked = parse_qs(place.query)
    ssh = Path(asked["command"][0]).read_text().partition("exec ssh ")[2].partition(' "$@"')[0]
    return {
        "ansible_connection": "ssh",
        "ansible_host": place.hostname,
        "ansible_port": place.port,
        "ansible_user": place.username,
        "ansible_ssh_private_key_file": asked["keyfile"][0],
        "ansible_ssh_common_args": ssh,
        **more,
    }


@pytest.mark.quick
def test_over_every_connection(lab: Lab, book: Book, short: Path) -> None:
    """Each of these hosts asks for the same, and waits for it as long."""
    (short / "ssh").mkdir()
    is_root = os.geteuid() == 0
    other = pwd.getpwuid(lab.socket.stat().st_uid).pw_name
    with sshd.serving(lab, short / "ssh", as_root=is_root) as reached:
        # What is copied is run on a terminal, which root's server has.
        far = over_ssh(reached, ansible_ssh_use_tty=is_root)
        hosts: dict[str, dict[str, t.Any]] = {
            "here": {},
            "piped": {**far, "ansible_pipelining": True},
            "copied": {**far, "ansible_pipelining": False, "ansible_remote_tmp": f"{short}/remote"},
            "delegated": {"runs_on": "piped"},
        }
        if is_root:
            become = {"ansible_become": True, "ansible_become_method": "su", "ansible_become_user": other}
            tmp = f"{book.others}/tmp"
            shell = {"ansible_become_flags": "-s /bin/sh", "ansible_pipelining": True, "ansible_remote_tmp": tmp}
            hosts["become_here"] = {**become, **shell}
            hosts["become_far"] = {**far, **become, **shell}
        output, beside = book.seen(hosts, 8, {"delegate_to": "{{ runs_on | default(omit) }}"}, ["--forks", "6"])
    for host in hosts:
        assert f"fatal: [{host}" in output, output + beside
        assert told(beside).get(host, 0) >= 2, output + beside
        assert (book.others / f"log-{host}").exists()
    assert output.count('"error_code": "not_converged"') == len(hosts), output
    # The module is the same one, with the same answer.
    assert "waiting: [" not in output
    assert ".virtmem-" not in output


@pytest.mark.quick
def test_a_terminal_sees_it_and_a_log_does_not(book: Book) -> None:
    log = book.start({"log": {}}, 5)
    ours, theirs = pty.openpty()
    seen: list[str] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # whoever wrote is gone
            while True:
                seen.append(os.read(ours, 4096).decode())

    reader = threading.Thread(target=read)
    reader.start()
    terminal = book.start({"person": {}}, 5, stdout=theirs, stderr=theirs)
    os.close(theirs)
    terminal.wait(60)
    reader.join(10)
    os.close(ours)
    output, beside = log.communicate(timeout=60)
    assert told("".join(seen)).get("person", 0) >= 2, seen
    assert told(output + beside) == {}
    assert '"error_code": "not_converged"' in output


def test_who_asks_for_none_sees_none(book: Book) -> None:
    """In the background, where nothing may be logged, without a wait, in check mode, where the inventory says so."""
    hosts: dict[str, dict[str, t.Any]] = {
        "background": {"seconds": 60},
        "secret": {"hidden": True},
        "quick": {"waits": False},
        "checked": {"check": True},
        "quiet": {"virtmem_progress": "never"},
    }
    task = {
        "async": "{{ seconds | default(0) }}",
        "poll": 1,
        "no_log": "{{ hidden | default(false) }}",
        "check_mode": "{{ check | default(false) }}",
    }
    output, beside = book.seen(hosts, 4, task)
    assert told(output + beside) == {}, output + beside
    assert "fatal: [background" in output, output
    assert "fatal: [quiet" in output, output


@pytest.mark.quick
def test_ctrl_c_while_it_is_told(lab: Lab, run: Runner, idle: str, book: Book, tree: Path) -> None:
    play = book.start({"here": {}}, 100, environment={"VIRTMEM_PROGRESS": "always"})
    assert play.stderr is not None
    until(lambda: told(t.cast("t.IO[str]", play.stderr).readline()), "a line", 60)
    os.killpg(play.pid, signal.SIGINT)
    output, beside = play.communicate(timeout=30)
    assert play.returncode != 0
    assert "Traceback" not in output + beside
    until(lambda: not [line for line in modules(tree) if "memory_device" in line], "the end of the module", 10)
    assert lab.requested(idle) == 128 * MIB
    run(domain=idle, alias=ALIAS, requested="128MiB", scope="live", wait=False).end().is_green(changed=False)


def test_a_task_that_takes_too_long(book: Book, tree: Path) -> None:
    """Ansible's own `timeout` ends it, and no line comes after that."""
    began = time.monotonic()
    output, beside = book.seen({"here": {}}, 20, {"timeout": 6})
    assert time.monotonic() - began < 30
    assert "timed out" in (output + beside).lower() or "timeout" in (output + beside).lower(), output + beside
    assert told(beside)["here"] >= 2
    until(lambda: not [line for line in modules(tree) if "memory_device" in line], "the end of the module", 40)


def test_what_can_not_be_read_is_not_shown(book: Book) -> None:
    """A connection that only the module gets through: nobody sees progress, and the task is as ever."""
    shell = book.folder / "shell"
    shell.write_text('#!/bin/sh\ncase "$2" in *.virtmem-*cat*|*cat*.virtmem-*) exit 1;; esac\nexec /bin/sh "$@"\n')
    shell.chmod(0o755)
    output, beside = book.seen({"here": {"ansible_shell_executable": str(shell)}}, 5)
    assert told(output + beside) == {}
    assert '"error_code": "not_converged"' in output
