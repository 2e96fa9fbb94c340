# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt can't store the configuration, so that the live change succeeds and the config change fails."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
import typing as t

import pytest
from conftest import virtio_mem
from faultlab import ALIAS, MIB, Lab, Runner

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting and giving folders away takes root")


def _inside(lab: Lab, *command: str) -> None:
    """Runs a command among the daemon's own mounts."""
    subprocess.run(["nsenter", f"--target={lab.daemon}", "--mount", *command], check=True)


@contextlib.contextmanager
def read_only(lab: Lab) -> t.Iterator[None]:
    """The folder with the configurations, as on a file system that can only be read."""
    folder = str(lab.place / "config" / "libvirt" / "qemu")
    _inside(lab, "mount", "--bind", folder, folder)
    try:
        _inside(lab, "mount", "-o", "remount,bind,ro", folder)
        yield
    finally:
        _inside(lab, "umount", folder)


@contextlib.contextmanager
def disk_full(lab: Lab) -> t.Iterator[None]:
    """The folder with the configurations, on a file system without a free block."""
    folder = lab.place / "config" / "libvirt" / "qemu"
    _inside(lab, "mount", "-t", "tmpfs", "-o", f"size=4k,mode=755,uid={folder.stat().st_uid}", "full", str(folder))
    try:
        _inside(lab, "dd", "if=/dev/zero", f"of={folder}/filler", "bs=4k", "count=1", "status=none")
        yield
    finally:
        _inside(lab, "umount", str(folder))


Fault = t.Callable[[Lab], t.ContextManager[None]]
FAULTS = pytest.mark.parametrize("fault", [read_only, disk_full], ids=["read-only", "disk full"])


@pytest.mark.quick
@FAULTS
def test_a_resize(lab: Lab, run: Runner, idle: str, fault: Fault) -> None:
    with fault(lab):
        answer = run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().failed_with("libvirt_error")
        answer.within(0).tells_truth(lab)
    assert answer.output["changed"]
    assert answer.output["details"]["scope"] == "config"
    assert "The running guest was changed already, the configuration was not." in answer.output["msg"]
    assert (answer.device["live"]["requested"], answer.device["config"]["requested"]) == (128 * MIB, 0)
    again = run(domain=idle, alias=ALIAS, requested="128MiB", wait=False).end().is_green(changed=True).tells_truth(lab)
    assert [step["scope"] for step in again.output["steps"]] == ["config"]
    # Also on the disk: a new daemon knows nothing else.
    lab("restart")
    assert lab.requested(idle, "config") == 128 * MIB


@FAULTS
def test_an_attach(lab: Lab, run: Runner, idle: str, fault: Fault) -> None:
    new: dict[str, t.Any] = {"alias": "ua-new", "model": "virtio-mem", "size": "1GiB", "requested": "0B", "node": 0}
    with fault(lab):
        answer = run(domain=idle, **new, wait=False).end().failed_with("libvirt_error").within(0)
        answer.tells_truth(lab, "ua-new")
    assert (bool(answer.device["live"]), answer.device["config"]) == (True, None)
    again = run(domain=idle, **new, wait=False).end().is_green(changed=True).tells_truth(lab, "ua-new")
    assert [(step["op"], step["scope"]) for step in again.output["steps"]] == [("attach", "config")]


@FAULTS
def test_a_redefinition(lab: Lab, run: Runner, idle: str, fault: Fault) -> None:
    with fault(lab):
        answer = run(domain=idle, alias=ALIAS, size="2GiB", wait=False).end().failed_with("libvirt_error").within(0)
        answer.tells_truth(lab)
    assert answer.output["changed"] is False
    run(domain=idle, alias=ALIAS, size="2GiB", wait=False).end().is_green(changed=True).tells_truth(lab)


@FAULTS
def test_a_removal(lab: Lab, run: Runner, guest: str, fault: Fault) -> None:
    """The guest has given the device back already."""
    dimm: dict[str, t.Any] = {"domain": guest, "alias": "ua-dimm0"}
    run(**dimm, model="dimm", size="128MiB", node=0).end().is_green()
    with fault(lab):
        answer = run(**dimm, state="absent").end().failed_with("libvirt_error").tells_truth(lab, "ua-dimm0")
    assert (answer.device["live"], bool(answer.device["config"])) == (None, True)
    run(**dimm, state="absent").end().is_green(changed=True).tells_truth(lab, "ua-dimm0")


@contextlib.contextmanager
def hanging_image(lab: Lab) -> t.Iterator[str]:
    """A domain whose saved image is on storage that hangs, as a pipe does that nobody writes to: the daemon lives, and
    its answer never comes."""
    with lab.guest("saved", "--kind", "empty", "--device", virtio_mem()) as name:
        lab.virsh("managedsave", name)
        (image,) = (lab.place / "config" / "libvirt" / "qemu" / "save").glob(f"{name}.save")
        kept = image.with_suffix(".kept")
        image.rename(kept)
        os.mkfifo(image)
        shutil.chown(image, kept.stat().st_uid, kept.stat().st_gid)
        try:
            yield name
        finally:
            with image.open("r+b", buffering=0) as pipe:  # lets go of whoever reads
                pipe.write(b"no image")
            kept.rename(image)
            lab("restart")


def test_a_saved_image_that_can_not_be_read(lab: Lab, run: Runner) -> None:
    with hanging_image(lab) as name:
        answer = run(domain=name, alias=ALIAS, requested="128MiB", wait_timeout=1).end().failed_with("domain_busy")
        answer.within(60)
        assert name in answer.output["msg"]
        assert not answer.output["changed"]


@pytest.mark.quick
def test_a_task_that_reads_what_never_comes_can_be_interrupted(lab: Lab, run: Runner) -> None:
    with hanging_image(lab) as name:
        task = run(domain=name, alias=ALIAS, requested="128MiB", wait_timeout=1)
        time.sleep(2)
        assert task.runs()
        task.process.send_signal(signal.SIGTERM)
        task.end().failed_with("task_interrupted").within(5)
