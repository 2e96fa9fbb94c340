# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stopped guests of other architectures can be given: libvirt takes what is planned; nothing is tried in vain."""

from __future__ import annotations

import typing as t

import pytest
from faultlab import GIB, MIB, Lab, Runner
from foreign import KINDS, defined, definition, stored

ALL = ("dimm", "nvdimm", "virtio-mem", "virtio-pmem", "sgx-epc")
EACH = pytest.mark.parametrize("kind", list(KINDS))


@pytest.fixture
def guest(lab: Lab, kind: str) -> t.Iterator[str]:
    """A stopped guest of the kind."""
    with defined(lab, kind, definition(kind, KINDS[kind])) as name:
        yield name


def device(kind: str, model: str) -> dict[str, t.Any]:
    """A device as such a guest can have it."""
    options: dict[str, t.Any] = {"alias": f"ua-{model}", "model": model, "size": "1GiB"}
    if model == "virtio-mem":
        options["requested"] = "512MiB"
    if model in ("nvdimm", "virtio-pmem"):
        options["source"] = {"path": "/tmp/none"}
    if model == "nvdimm" and kind == "pseries":
        options.update(label_size="128KiB", size="1048704KiB")
    return options


@EACH
def test_a_plain_guest_is_made_ready_for_all_that_it_can_have(lab: Lab, run: Runner, guest: str, kind: str) -> None:
    devices = [device(kind, model) for model in KINDS[kind].models]
    declared = {"name": guest, "max_memory": "16GiB", "slots": 8, "devices": devices}
    before = stored(lab, guest)
    if not devices:
        answer = run("memory_layout", domains=[declared]).end().failed_with("unsupported")
        assert kind == "riscv"
        assert "riscv64" in answer.output["msg"]
        assert stored(lab, guest) == before
        return
    plan = run("memory_layout", domains=[declared], check=True).end().is_green(changed=True)
    assert stored(lab, guest) == before
    done = run("memory_layout", domains=[declared]).end().is_green(changed=True)
    assert done.output["domains"][0]["steps"] == plan.output["domains"][0]["steps"]
    assert done.output["diff"] == plan.output["diff"]
    assert set(lab.devices(guest, "config")) == {item["alias"] for item in devices}
    after = stored(lab, guest)
    run("memory_layout", domains=[declared]).end().is_green(changed=False)
    assert stored(lab, guest) == after


@EACH
def test_what_a_guest_can_not_have_is_refused_before_libvirt_is_asked(
    lab: Lab, run: Runner, guest: str, kind: str
) -> None:
    before = stored(lab, guest)
    for model in ALL:
        if model in KINDS[kind].models:
            continue
        for check in (True, False):
            options = device(kind, model)
            declared = {"name": guest, "max_memory": "16GiB", "slots": 8, "devices": [options]}
            answer = run("memory_layout", domains=[declared], check=check).end()
            # Where only the firmware is missing, it is named.
            answer.failed_with("no_acpi" if kind == "arm" and model in ("dimm", "nvdimm") else "unsupported")
            said = answer.output["msg"] + answer.output["hint"]
            assert all(other in said for other in KINDS[kind].models) or "firmware='efi'" in said
            assert stored(lab, guest) == before


@pytest.mark.parametrize("kind", ["s390"])
def test_the_block_of_an_emulated_s390x_guest_is_the_hosts(lab: Lab, run: Runner, guest: str) -> None:
    """libvirt 12.8 refuses 1 MiB with code 35, once maxMemory has been written."""
    before = stored(lab, guest)
    small = {**device("s390", "virtio-mem"), "block": "1MiB"}
    declared = {"name": guest, "max_memory": "16GiB", "devices": [small]}
    run("memory_layout", domains=[declared]).end().failed_with("invalid_block")
    assert stored(lab, guest) == before
    del small["block"]
    run("memory_layout", domains=[declared]).end().is_green(changed=True)
    assert '<block unit="KiB">2048</block>' in stored(lab, guest)


@pytest.mark.parametrize("kind", ["pseries"])
def test_the_nvdimm_of_a_pseries_guest_is_stored_as_it_is_declared(lab: Lab, run: Runner, guest: str) -> None:
    run("memory_layout", domains=[{"name": guest, "max_memory": "16GiB", "slots": 8}]).end().is_green(changed=True)
    before = stored(lab, guest)
    wrong = {**device("pseries", "nvdimm"), "size": "512MiB"}
    run(domain=guest, scope="config", **wrong).end().failed_with("not_aligned")
    unlabelled = {name: value for name, value in wrong.items() if name != "label_size"}
    run(domain=guest, scope="config", **unlabelled).end().failed_with("missing_option")
    assert stored(lab, guest) == before
    right = {**wrong, "size": "262272KiB"}
    run(domain=guest, scope="config", **right).end().is_green(changed=True)
    found = lab.device(guest, "config", "ua-nvdimm")
    assert found is not None
    assert found["size"] == 256 * MIB + 128 * 1024
    run(domain=guest, scope="config", **right).end().is_green(changed=False)


@EACH
def test_the_survey_tells_of_it(run: Runner, guest: str, kind: str) -> None:
    answer = run("memory_device_info", domains=[guest]).end().is_green()
    (domain,) = answer.output["domains"]
    assert domain["problem"] is None
    assert domain["memory"]["boot"] == GIB
    assert (domain["capacity"]["ports_free"] is None) == (kind == "s390")


@pytest.mark.parametrize("kind", ["arm", "s390"])
def test_one_number_makes_a_device_where_there_is_numa_and_where_there_is_none(
    lab: Lab, run: Runner, guest: str, kind: str
) -> None:
    declared: dict[str, t.Any] = {"domain": guest, "memory": "2GiB", "max_memory": "4GiB"}
    run("guest_memory", **declared).end().is_green(changed=True)
    found = lab.device(guest, "config", "ua-mem0")
    assert found is not None
    assert found["requested"] == GIB
    assert ("<node>" in stored(lab, guest)) == (kind != "s390")
    run("guest_memory", **declared).end().is_green(changed=False)
