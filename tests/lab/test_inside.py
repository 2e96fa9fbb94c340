# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules inside another Debian release: its own Python, libvirt's bindings, lxml and ansible-core.

The witnesses are the guest's own MemTotal, and libvirt as this machine's client sees it.
"""

from __future__ import annotations

import json
import os
import shutil
import typing as t
from pathlib import Path

import pytest
from test_lab import GIB, NEEDS_NAMESPACES, VIRTIO_MEM, Commands, until

COLLECTION = Path(__file__).resolve().parent.parent.parent
RELEASES = ["forky", *(["trixie"] if os.environ.get("VIRTMEM_LABS") == "all" else [])]
MIB = 1024**2
pytestmark = NEEDS_NAMESPACES


@pytest.fixture(params=RELEASES)
def lab(request: pytest.FixtureRequest) -> t.Iterator[Commands]:
    """A lab that is up, with the collection where its user can read it, and a guest."""
    lab = Commands(Path(f"/tmp/vl-i-{os.getpid()}"), request.param)
    try:
        lab("up")
        here = lab.folder / "collections" / "ansible_collections" / "virtmem" / "libvirt"
        for part in ("plugins", "meta"):
            shutil.copytree(COLLECTION / part, here / part)
        shutil.copyfile(COLLECTION / "galaxy.yml", here / "galaxy.yml")
        lab("guest", "g", "--device", VIRTIO_MEM)
        yield lab
    finally:
        lab("down")


def _task(lab: Commands, module: str, uri: str, **options: object) -> dict[str, t.Any]:
    """One task by the release's own ansible, with its result; a warning fails the test."""
    settings = {
        "ANSIBLE_COLLECTIONS_PATH": lab.folder / "collections",
        "ANSIBLE_LOCAL_TEMP": lab.folder / "tmp",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
    }
    words = ["env", *(f"{name}={value}" for name, value in settings.items())]
    arguments = json.dumps({"uri": uri, **options})
    done = lab.run("inside", *words, "ansible", "localhost", "-m", f"virtmem.libvirt.{module}", "-a", arguments)
    said = done.stdout + done.stderr
    assert "WARNING" not in said, said
    assert "DEPRECATION" not in said, said
    found: dict[str, t.Any] = json.loads(said[said.index("{\n") : said.rindex("}") + 1])
    return found


def _has(lab: Commands, size: int) -> None:
    """The guest reports once a second."""
    until(lambda: bool(lab.hears("g", "mem_total") == size), 20)


def test_the_modules_run_on_the_releases_own_python(lab: Commands) -> None:
    uri = lab("uri").strip()
    info = _task(lab, "memory_device_info", uri)
    assert [domain["name"] for domain in info["domains"]] == ["g"]

    at_boot = lab.report("g")["mem_total"]
    device = {"domain": "g", "alias": "ua-vm0"}
    assert _task(lab, "memory_device", uri, **device, requested="1GiB")["changed"]
    assert lab.current("g") == GIB
    _has(lab, at_boot + 1024 * MIB)
    assert not _task(lab, "memory_device", uri, **device, requested="1GiB")["changed"]
    assert _task(lab, "memory_device", uri, **device, state="absent")["changed"]
    assert lab.device("g", "ua-vm0") is None
    _has(lab, at_boot)

    dimm = {"domain": "g", "alias": "ua-dimm0"}
    assert _task(lab, "memory_device", uri, **dimm, model="dimm", size="512MiB", node=0)["changed"]
    _has(lab, at_boot + 512 * MIB)
    assert _task(lab, "memory_device", uri, **dimm, state="absent")["changed"]
    _has(lab, at_boot)

    refused = _task(lab, "memory_device", uri, domain="g", alias="ua-x", model="dimm", size="3MiB", node=0)
    assert refused["error_code"] == "not_aligned"

    assert _task(lab, "guest_memory", uri, domain="g", memory="1GiB")["changed"]
    _has(lab, at_boot + 512 * MIB)
