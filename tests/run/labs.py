# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lab of the checks' own, apart from the one of `make lab-up`: up on entry, down on exit, whatever happens."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from checks import Ran, execute
from workshop import CACHE, NODE_PYTHON, ROOT, THOROUGH

LAB = ROOT / "tests" / "lab" / "lab.py"
# As tests/lab/daemon.py makes them, which can't be imported before its packages are there.
NAMESPACES = ("unshare", "--user", "--map-root-user", "--mount", "true")


class LabError(Exception):
    """The lab does not do what it must; the message has its last words."""


@dataclass(frozen=True)
class Kind:
    """One kind of lab: a hypervisor to run the integration targets on."""

    name: str
    what: str
    variables: t.Mapping[str, str]  # what makes lab.py be this kind

    @property
    def is_there(self) -> bool:
        """Whether it can be run: others than root need user namespaces for one that lives in a root of its own."""
        return not self.variables or os.geteuid() == 0 or subprocess.run(NAMESPACES, check=False).returncode == 0


# Further labs are further rows; each becomes a stage of its own in stages.py.
HERE = Kind("here", "this machine's libvirt and QEMU", {})
TRIXIE = Kind("trixie", "libvirt and QEMU of Debian 13", {"VIRTMEM_LAB_RELEASE": "trixie"})
FORKY = Kind("forky", "libvirt and QEMU of Debian 14", {"VIRTMEM_LAB_RELEASE": "forky"})
NEWEST = FORKY


@dataclass(frozen=True)
class Lab:
    """A lab that is up."""

    uri: str
    command: Path  # an executable with the lab's commands as its arguments, from wherever it is called

    def run(self, *arguments: str, always: bool = False) -> str:
        """Runs one command of the lab.

        Raises:
            LabError: it failed.
        """
        ran = _execute(self.command, *arguments, always=always)
        if not ran.ok:
            raise LabError(f"lab {shlex.join(arguments)} failed:\n{ran.output}")
        return ran.output

    def variables(self) -> str:
        """The variables of tests that run on the lab, as YAML (of which JSON is a part)."""
        return json.dumps(
            {
                "lab": str(self.command),
                "lab_uri": self.uri,
                "ansible_python_interpreter": str(NODE_PYTHON),
                # The tests' HOME is not that of their user, and the wrapper and the status of a job disagree on ~ then.
                "ansible_async_dir": str(CACHE / "async"),
                # What the model of libvirt tells as well is left to `make test-labs`.
                "thorough": THOROUGH,
            }
        )


def _execute(command: Path, *arguments: str, always: bool = False) -> Ran:
    return execute([command, *arguments], cwd=ROOT, env=os.environ, limit=300, always=always)


def _wrapper(kind: Kind, purpose: str) -> Path:
    """ansible-test hands hardly any variable on, so the lab's are in a script."""
    mark = hashlib.sha256(f"{ROOT} {kind.name} {purpose}".encode()).hexdigest()[:8]
    variables = {"VIRTMEM_LAB_DIR": f"/tmp/virtmem-{mark}", **kind.variables}
    words = ["env", *(f"{name}={value}" for name, value in variables.items()), str(NODE_PYTHON), str(LAB)]
    path = CACHE / "bin" / f"lab-{kind.name}-{purpose}"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def up(kind: Kind, purpose: str) -> t.Iterator[Lab]:
    """A lab for one purpose. What an earlier run may have left of it goes first.

    Raises:
        LabError: it does not come up, or does not go down.
    """
    command = _wrapper(kind, purpose)
    try:
        _execute(command, "down")
        ran = _execute(command, "up")
        if not ran.ok:
            raise LabError(f"The lab did not come up:\n{ran.output}")
        yield Lab(ran.output.split()[-1], command)
    finally:
        ran = _execute(command, "down", always=True)
        if not ran.ok:
            raise LabError(f"The lab did not go down:\n{ran.output}")
