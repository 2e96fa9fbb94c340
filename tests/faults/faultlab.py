# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tools of the fault tests: the lab's commands, what libvirt has, a module as a process of its own, its answer."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import ansible
import libvirt

ROOT = Path(__file__).resolve().parent.parent.parent
# The checkout's, where these tests run from a copy: it keeps what took long to make.
LAB = Path(os.environ.get("VIRTMEM_LAB_PY") or ROOT / "tests" / "lab" / "lab.py")
NODE_PYTHON = "/usr/bin/python3"
ALIAS = "ua-vm0"
MIB = 1024**2
GIB = 1024**3
# What a module may take on a busy machine besides what it waits for.
PROMPT = 12.0
# How long it takes to notice that a connection has fallen silent, on top of that.
KEEPALIVE = 35.0

_DOCUMENTED = set(
    re.findall(r'^    "([a-z_]+)": "', (ROOT / "plugins/module_utils/_memory/errors.py").read_text(), re.MULTILINE)
)
_UNITS = {"b": 1, "bytes": 1, "KiB": 1024, "MiB": MIB, "GiB": GIB}

libvirt.registerErrorHandler(lambda _context, _error: None, None)


def until(is_so: t.Callable[[], t.Any], what: str, patience: float = 30.0) -> None:
    """Waits until something is so."""
    deadline = time.monotonic() + patience
    while not is_so():
        assert time.monotonic() < deadline, f"never came to be: {what}"
        time.sleep(0.05)


def _bytes(element: ElementTree.Element | None) -> int | None:
    return None if element is None else int(element.text or "") * _UNITS[element.get("unit", "KiB")]


def _sizes(device: ElementTree.Element) -> dict[str, int | None]:
    return {name: _bytes(device.find(f"target/{name}")) for name in ("size", "requested", "current")}


@dataclass(frozen=True)
class Lab:
    """A lab that is up."""

    folder: Path
    release: tuple[str, ...] = ()

    @property
    def place(self) -> Path:
        """Where everything of it is."""
        return self.folder.with_name("-".join((self.folder.name, *self.release)))

    @property
    def socket(self) -> Path:
        """Where its daemon listens."""
        return self.place / "run" / "libvirt" / "libvirt-sock"

    @property
    def uri(self) -> str:
        """Its URI."""
        return f"qemu+unix:///session?socket={self.socket}"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts one of the lab's commands."""
        release = [word for name in self.release for word in ("--release", name)]
        return subprocess.Popen(
            [NODE_PYTHON, str(LAB), *release, *arguments],
            env={**os.environ, "VIRTMEM_LAB_DIR": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str) -> str:
        """What a command of the lab answers."""
        process = self.start(*arguments)
        output, error = process.communicate(timeout=180)
        assert process.returncode == 0, f"lab {arguments} failed: {error}"
        return output

    def virsh(self, *arguments: str) -> str:
        """What a command of virsh answers."""
        done = subprocess.run(
            ["virsh", "-c", self.uri, *arguments], capture_output=True, text=True, check=False, timeout=90
        )
        assert done.returncode == 0, f"virsh {arguments} failed: {done.stderr}"
        return done.stdout

    def holds_memory(self, name: str) -> bool:
        """Whether the guest says that it has memory which it won't give back; on a busy machine it may be mute."""
        process = self.start("guestinfo", name)
        output, _errors = process.communicate()
        return process.returncode == 0 and json.loads(output)["pinned"] > 0

    @contextlib.contextmanager
    def guest(self, name: str, *options: str) -> t.Iterator[str]:
        """A guest that is there for the block only."""
        self("guest", name, *options)
        try:
            yield name
        finally:
            self("delete", name)

    # --- its processes

    @property
    def daemon(self) -> int:
        """The number of the daemon's process."""
        return int((self.place / "libvirtd.pid").read_text())

    def kill(self) -> None:
        """Ends the daemon in the middle of whatever it does."""
        os.kill(self.daemon, signal.SIGKILL)

    def heal(self) -> None:
        """Brings the daemon back, where a test that failed has left it dead."""
        try:
            libvirt.open(self.uri).close()
        except libvirt.libvirtError:
            self("restart")

    def qemu(self, name: str) -> int:
        """The number of a guest's process."""
        folder = self.place / "run" / "libvirt" / "qemu" / "run"
        return int((folder / f"{name}.pid").read_text())

    @contextlib.contextmanager
    def stopped(self, process: int) -> t.Iterator[None]:
        """A process that does nothing meanwhile."""
        os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process, signal.SIGCONT)

    # --- what libvirt has

    @contextlib.contextmanager
    def domain(self, name: str) -> t.Iterator[t.Any]:
        """A domain, over a connection of its own."""
        connection = libvirt.open(self.uri)
        try:
            yield connection.lookupByName(name)
        finally:
            connection.close()

    def xml(self, name: str, scope: str) -> ElementTree.Element | None:
        """A domain's definition in one scope, with secrets; None if it has none, or is not there."""
        try:
            with self.domain(name) as domain:
                secure = libvirt.VIR_DOMAIN_XML_SECURE
                if scope == "live":
                    return ElementTree.fromstring(domain.XMLDesc(secure)) if domain.isActive() else None
                inactive = secure | libvirt.VIR_DOMAIN_XML_INACTIVE
                return ElementTree.fromstring(domain.XMLDesc(inactive)) if domain.isPersistent() else None
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return None

    def devices(self, name: str, scope: str) -> dict[str, dict[str, int | None]]:
        """The sizes of a domain's memory devices, by alias."""
        xml = self.xml(name, scope)
        found = xml.iterfind("devices/memory") if xml is not None else ()
        aliases = [(device, device.find("alias")) for device in found]
        return {
            str(alias.get("name")) if alias is not None else f"without alias {number}": _sizes(device)
            for number, (device, alias) in enumerate(aliases)
        }

    def device(self, name: str, scope: str, alias: str = ALIAS) -> dict[str, int | None] | None:
        """The sizes of one memory device, None if it is not there."""
        return self.devices(name, scope).get(alias)

    def requested(self, name: str, scope: str = "live", alias: str = ALIAS) -> int | None:
        """What is requested of a device."""
        return (self.device(name, scope, alias) or {}).get("requested")

    def state(self, name: str) -> str:
        """The domain's state in virsh's words."""
        return self.virsh("domstate", name).strip()

    def is_running(self, name: str) -> bool:
        """Whether there is such a domain, and it is active."""
        return self.xml(name, "live") is not None


@dataclass
class Answer:
    """What a module has answered, and how long it took."""

    output: dict[str, t.Any]
    text: str
    took: float
    domain: str | None = None

    @property
    def error_code(self) -> str | None:
        """The documented word for what went wrong, if anything did."""
        return self.output.get("error_code")

    @property
    def device(self) -> dict[str, t.Any]:
        """The device of the result, as far as there is one."""
        return self.output.get("device") or {}

    def failed_with(self, *error_codes: str) -> Answer:
        """It is red, with one of these words."""
        assert self.error_code in error_codes, self.text
        return self

    def is_green(self, changed: bool | None = None) -> Answer:
        """It went well."""
        assert not self.output.get("failed"), self.text
        assert changed in (None, self.output["changed"]), self.text
        return self

    def within(self, seconds: float) -> Answer:
        """It took no longer than that, and what any module may take."""
        assert self.took < seconds + PROMPT, f"took {self.took:.1f} s: {self.text}"
        return self

    def tells_truth(self, lab: Lab, alias: str = ALIAS) -> Answer:
        """What libvirt has in both scopes is what the result says."""
        return same_as_libvirt(self, lab, str(self.domain), alias, self.device)


def same_as_libvirt(answer: Answer, lab: Lab, domain: str, alias: str, device: dict[str, t.Any]) -> Answer:
    """The device of a result is the one that libvirt has, in both scopes."""
    for scope in ("live", "config"):
        told, real = device.get(scope), lab.device(domain, scope, alias)
        told = told and {name: told.get(name) for name in ("size", "requested", "current")}
        assert told == real, f"{scope}: libvirt has {real}, the result says {told}: {answer.text}"
    return answer


@dataclass
class Task:
    """A module that runs."""

    process: subprocess.Popen[str]
    domain: str | None
    started: float = field(default_factory=time.monotonic)

    def end(self, limit: float = 150.0) -> Answer:
        """Waits for its answer: one line of JSON, nothing else, and no traceback anywhere."""
        try:
            output, errors = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, errors = self.process.communicate()
            raise AssertionError(f"hung for more than {limit:g} s: {output}{errors}") from None
        took = time.monotonic() - self.started
        assert errors == "", errors
        assert "Traceback" not in output
        lines = output.strip().splitlines()
        assert len(lines) == 1, f"not one line of JSON: {output!r}, {self.process.returncode}"
        answer: dict[str, t.Any] = json.loads(lines[0])
        answer.pop("invocation", None)
        assert self.process.returncode == int(bool(answer.get("failed"))), output
        if answer.get("failed"):
            assert answer.get("error_code") in _DOCUMENTED, output
            assert answer["msg"], output
            assert answer["hint"], output
        return Answer(answer, json.dumps(answer, indent=1), took, self.domain)

    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None


@contextlib.contextmanager
def tree_of_collection() -> t.Iterator[Path]:
    """A folder in which Ansible finds the collection, as it is now; also for a module of another user."""
    with tempfile.TemporaryDirectory(prefix="vf-tree-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        collection = folder / "ansible_collections" / "virtmem" / "libvirt"
        for part in ("plugins", "meta"):
            shutil.copytree(ROOT / part, collection / part)
        yield folder


@dataclass(frozen=True)
class Runner:
    """Starts modules as Ansible does: options by stdin, the answer on stdout, by the node's own Python."""

    uri: str
    tree: Path

    def __call__(
        self, module: str = "memory_device", *, before: t.Sequence[str] = (), check: bool = False, **options: t.Any
    ) -> Task:
        """Starts a module.

        Args:
            module: which one.
            before: words before the command, such as those of setpriv.
            check: whether it is check mode.
            options: the module's.
        """
        libraries = str(Path(ansible.__file__).parent.parent)
        process = subprocess.Popen(
            [*before, NODE_PYTHON, "-m", f"ansible_collections.virtmem.libvirt.plugins.modules.{module}"],
            env={**os.environ, "PYTHONPATH": f"{self.tree}:{libraries}", "PYTHONDONTWRITEBYTECODE": "1"},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        flags = {"_ansible_check_mode": check, "_ansible_diff": True}
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": {"uri": self.uri, **flags, **options}}))
            process.stdin.close()
        process.stdin = None
        return Task(process, options.get("domain"))
