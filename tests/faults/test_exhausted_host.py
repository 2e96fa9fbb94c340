# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a device needs is used up, or not there."""

from __future__ import annotations

import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from conftest import virtio_mem
from faultlab import ALIAS, GIB, MIB, Answer, Lab, Runner, same_as_libvirt

DIMM: dict[str, t.Any] = {"alias": "ua-dimm0", "model": "dimm", "size": "256MiB", "node": 0}


def untouched(answer: Answer, lab: Lab, name: str) -> None:
    """Nothing was done to a guest that has its one device."""
    assert answer.output["changed"] is False
    for scope in ("live", "config"):
        assert list(lab.devices(name, scope)) == [ALIAS]
        assert lab.requested(name, scope) == 0


@pytest.mark.parametrize(
    ("options", "device", "error_code", "details"),
    [
        pytest.param(("--slots", "1"), DIMM, "no_free_slot", (), marks=pytest.mark.quick),
        (("--max-memory", "1600MiB"), DIMM, "insufficient_headroom", ("needed", "headroom")),
        (("--no-max-memory",), DIMM, "no_max_memory", ()),
        pytest.param(
            (), {**DIMM, "source": {"pagesize": "1GiB"}, "size": "1GiB"}, "no_host_pages", (), marks=pytest.mark.quick
        ),
        ((), {**DIMM, "source": {"nodemask": "7"}}, "no_host_node", ()),
        ((), {**DIMM, "node": 5}, "no_numa_node", ()),
    ],
    ids=["slots", "maxMemory", "no maxMemory", "hugepages", "host nodes", "cells"],
)
def test_known_before_anything_is_changed(
    lab: Lab,
    run: Runner,
    options: tuple[str, ...],
    device: dict[str, t.Any],
    error_code: str,
    details: tuple[str, ...],
) -> None:
    """Each for one device, and as the last of a set, of which nothing is done then."""
    has_device = "--no-max-memory" not in options
    more = ("--device", virtio_mem()) if has_device else ()
    with lab.guest("scarce", "--kind", "empty", *more, *options) as name:
        answer = run(domain=name, **device).end().failed_with(error_code).within(0)
        assert set(details) <= set(answer.output["details"]), answer.text
        if not has_device:
            return
        untouched(answer, lab, name)
        devices = [{"alias": ALIAS, "requested": "128MiB"}, device]
        untouched(
            run("memory_layout", domains=[{"name": name, "devices": devices}], wait=False)
            .end()
            .failed_with(error_code),
            lab,
            name,
        )


def test_no_hot_plug_port(lab: Lab, run: Runner) -> None:
    """The configuration gets the device, and libvirt finds it a port there."""
    new: dict[str, t.Any] = {"alias": "ua-new", "model": "virtio-mem", "size": "1GiB", "requested": "0B", "node": 0}
    with lab.guest("full", "--kind", "empty", "--ports", "0", "--device", virtio_mem()) as name:
        run(domain=name, **new, scope="both").end().failed_with("needs_restart").within(0)
        answer = run(domain=name, **new).end().is_green(changed=True).tells_truth(lab, "ua-new")
        assert answer.output["restart_required"]
        lab.virsh("destroy", name)
        lab.virsh("start", name)
        again = run(domain=name, **new).end().is_green(changed=False).tells_truth(lab, "ua-new")
        assert again.output["restart_required"] is False


def limit(process: int, size: int | None) -> None:
    """Lets a process have so much more memory than it has, or all it wants."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[0])
    value = "unlimited" if size is None else str(pages * 4096 + size)
    # As its own user, who may change what is no more than a soft limit.
    owner = Path(f"/proc/{process}").stat()
    user = [f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"] if os.geteuid() == 0 else []
    subprocess.run(["setpriv", *user, "prlimit", f"--pid={process}", f"--as={value}:"], check=True)


@pytest.mark.parametrize("room", [0, 1, 2])
def test_host_memory_at_each_step_of_a_set(lab: Lab, run: Runner, idle: str, room: int) -> None:
    """QEMU can't have more: what was done before stays, the rest is not half done, and a re-run goes on."""
    sizes = {f"ua-d{number}": GIB for number in range(3)}
    devices = [{"alias": alias, "model": "dimm", "size": "1GiB", "node": 0} for alias in sizes]
    domains = [{"name": idle, "devices": devices}]
    limit(lab.qemu(idle), room * GIB + 200 * MIB)
    answer = run("memory_layout", domains=domains).end().failed_with("libvirt_error").within(0)
    assert answer.output["changed"] == (room > 0)
    assert answer.output["details"]["op"] == "attach"
    assert answer.output["details"]["scope"] == "live"
    for alias, device in zip(sizes, answer.output["domains"][0]["devices"], strict=True):
        same_as_libvirt(answer, lab, idle, alias, device or {})
    assert len(lab.devices(idle, "live")) == 1 + room
    limit(lab.qemu(idle), None)
    run("memory_layout", domains=domains).end().is_green(changed=True)
    for scope in ("live", "config"):
        assert set(lab.devices(idle, scope)) == {ALIAS, *sizes}


@pytest.mark.parametrize("what", ["missing", "too small", "not readable"])
def test_the_path_of_an_nvdimm(lab: Lab, run: Runner, what: str) -> None:
    place = lab.place / "memory" / f"{what.replace(' ', '-')}.img"
    with lab.guest(
        "stores", "--kind", "empty", "--device", "model=nvdimm,alias=ua-first,path=first,size=256MiB,node=0"
    ) as name:
        path = place
        if what == "missing":
            path = lab.place / "nowhere" / "file"
        elif what == "too small":
            lab("file", place.name, "64MiB")
            place.chmod(0o444)
        else:
            lab("file", place.name, "256MiB")
            place.chmod(0)
        new: dict[str, t.Any] = {
            "alias": "ua-pmem",
            "model": "nvdimm",
            "size": "256MiB",
            "node": 0,
            "source": {"path": str(path)},
        }
        answer = run(domain=name, **new).end().failed_with("libvirt_error").within(0).tells_truth(lab, "ua-pmem")
        assert answer.output["changed"] is False
        assert str(path) in answer.output["msg"], answer.text
        for scope in ("live", "config"):
            assert list(lab.devices(name, scope)) == ["ua-first"]
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        good = lab("file", "good.img", "256MiB").strip()
        Path(good).rename(path)
        path.parent.chmod(0o755)
        run(domain=name, **new).end().is_green(changed=True).tells_truth(lab, "ua-pmem")
    path.unlink()
