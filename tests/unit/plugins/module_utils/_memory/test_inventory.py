# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is told of a domain's memory: drift by its kind, capacity, options to declare what there is, sums."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import (
    Definition,
    Device,
    Domain,
    Host,
    HostMemory,
    Statistics,
)
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.inventory import sums
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.inventory.drift import DRIFTS
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.inventory.results import Selection, options_of
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.models import MODELS
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, KIB, MIB
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.support import Versions
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers

ALL = Selection()


def told(domain: Domain, versions: Versions = helpers.BOOKWORM, selection: Selection = ALL) -> dict[str, t.Any]:
    """Everything about a domain."""
    return sums.describe(domain, selection, versions)


def kinds(domain: Domain, versions: Versions = helpers.BOOKWORM) -> list[tuple[str, str | None]]:
    """The kind and the device of each difference, whose form is checked by the way."""
    found = told(domain, versions)["drift"]
    for item in found:
        assert list(item) == ["kind", "domain", "device", "live", "config", "message"]
        assert item["kind"] in DRIFTS
        assert item["domain"] == domain.name
        assert item["message"].endswith(".")
    return [(item["kind"], item["device"]) for item in found]


def plugged(**values: t.Any) -> Device:
    """A virtio-mem device whose guest has what is requested."""
    return helpers.virtio_mem(**{"current": GIB, **values})


# --- drift


@pytest.mark.parametrize(("offline", "age", "expected"), [(0, 1.0, True), (GIB, 1.0, False), (GIB, 60.0, None)])
def test_what_a_guest_can_not_use_is_drift_if_it_was_asked(offline: int, age: float, expected: bool | None) -> None:
    domain = helpers.domain(helpers.definition(plugged(), period=1), helpers.definition(helpers.virtio_mem()))
    assert told(domain)["guest"] is None
    assert told(domain)["usable"] is None
    said = Statistics(total=2 * GIB - 100 * MIB - offline, updated=1, age=age)
    domain = domain._replace(guest=said)
    assert told(domain)["usable"] is expected
    assert told(domain)["guest"]["total"] == said.total
    assert kinds(domain) == ([("not_usable", None)] if expected is False else [])
    if expected is False:
        (found,) = told(domain)["drift"]
        assert found["live"]["plugged"] == GIB
        assert "1GiB" in found["message"]


def test_a_name_that_only_one_side_has_is_a_difference() -> None:
    domain = helpers.domain(
        helpers.definition(plugged(alias="virtiomem0")), helpers.definition(helpers.virtio_mem(alias="ua-vm0"))
    )
    (found,) = told(domain)["drift"]
    assert (found["kind"], found["live"], found["config"]) == (
        "property",
        {"alias": "virtiomem0"},
        {"alias": "ua-vm0"},
    )


def test_a_device_of_the_running_guest_alone_is_nothing_that_an_image_could_change() -> None:
    live = helpers.definition(plugged(alias="ua-a"))
    domain = helpers.domain(live, helpers.definition(), saved=helpers.definition())
    assert kinds(domain) == [("scope", "ua-a")]


def test_a_domain_in_order_has_none() -> None:
    live = helpers.definition(plugged(), helpers.dimm(alias="ua-d0"))
    config = helpers.definition(helpers.virtio_mem(), helpers.dimm(alias="ua-d0"))
    assert kinds(helpers.domain(live, config)) == []


@pytest.mark.parametrize(
    ("change", "live", "config"),
    [
        ({"requested": 2 * GIB}, {"requested": GIB}, {"requested": 2 * GIB}),
        ({"block": 4 * MIB}, {"block": 2 * MIB}, {"block": 4 * MIB}),
        ({"discard": True}, {"discard": None}, {"discard": True}),
        ({"nodemask": (0, 1, 2)}, {"source.nodemask": None}, {"source.nodemask": "0-2"}),
        ({"pagesize": 2 * MIB}, {"source.pagesize": None}, {"source.pagesize": 2 * MIB}),
        ({"size": 8 * GIB}, {"size": 4 * GIB}, {"size": 8 * GIB}),
    ],
)
def test_a_property_that_differs_is_told_with_both_sides(
    change: dict[str, t.Any], live: dict[str, t.Any], config: dict[str, t.Any]
) -> None:
    domain = helpers.domain(helpers.definition(plugged()), helpers.definition(helpers.virtio_mem(**change)))
    assert kinds(domain) == [("property", "ua-vm0")]
    found = told(domain)["drift"][0]
    assert (found["live"], found["config"]) == (live, config)
    assert next(iter(live)) in found["message"]


def test_what_libvirt_aligns_and_where_it_puts_things_is_no_difference() -> None:
    live = helpers.definition(helpers.dimm(alias="ua-d0", size=GIB, slot=0, base=GIB))
    config = helpers.definition(helpers.dimm(alias="ua-d0", size=GIB - 1024 * KIB, slot=1))
    assert kinds(helpers.domain(live, config)) == []


@pytest.mark.parametrize("here", ["live", "config"])
def test_a_device_in_one_scope_only_is_told_with_that_side(here: str) -> None:
    device = helpers.dimm(alias="ua-d0")
    sides = {"live": helpers.definition(), "config": helpers.definition(), here: helpers.definition(device)}
    domain = helpers.domain(**sides)
    assert kinds(domain) == [("scope", "ua-d0")]
    found = told(domain)["drift"][0]
    assert found.pop(here) == device.describe()
    assert found["config" if here == "live" else "live"] is None


def test_a_domain_with_one_scope_has_no_other_to_differ_from() -> None:
    assert kinds(helpers.domain(helpers.definition(plugged()))) == []
    assert kinds(helpers.domain(config=helpers.definition(helpers.virtio_mem()))) == []


@pytest.mark.parametrize("current", [0, GIB // 2, 2 * GIB])
def test_an_actual_size_that_is_not_the_requested_one(current: int) -> None:
    live = helpers.definition(plugged(current=current))
    domain = helpers.domain(live, helpers.definition(helpers.virtio_mem()))
    assert kinds(domain) == [("not_converged", "ua-vm0")]
    assert told(domain)["drift"][0]["live"] == {"requested": GIB, "current": current}
    device = told(domain)["devices"][0]
    assert (device["converged"], device["shortfall"]) == (False, abs(GIB - current))


def saved(*before: Device, config: t.Sequence[Device]) -> Domain:
    """A domain that is off, with a saved state of these devices."""
    return helpers.domain(config=helpers.definition(*config), saved=helpers.definition(*before))


def test_a_saved_state_that_brings_back_what_is_configured_is_none() -> None:
    domain = saved(plugged(), config=[helpers.virtio_mem()])
    assert kinds(domain) == []
    assert told(domain)["managed_save"] is True


def test_a_saved_state_that_brings_back_something_else() -> None:
    was, new, gone = plugged(requested=0, current=0), helpers.dimm(alias="ua-new"), helpers.dimm(alias="ua-gone")
    domain = saved(was, gone, config=[helpers.virtio_mem(), new])
    assert kinds(domain) == [("managed_save", "ua-vm0"), ("managed_save", "ua-new"), ("managed_save", "ua-gone")]
    changed, added, removed = told(domain)["drift"]
    assert (changed["live"]["requested"], changed["config"]["requested"]) == ("0", "1GiB")
    assert added["live"] is None
    assert removed["config"] is None
    assert removed["live"]["size"] == "1GiB"
    assert "as missing" in added["message"]
    assert "'requested': '0'" in changed["message"]


def test_a_saved_state_is_compared_whatever_stands_before_it() -> None:
    """A device of the running guest alone, or one without a name, hides none that comes after it."""
    nameless = [helpers.dimm(size=GIB), helpers.dimm(size=2 * GIB)]
    domain = saved(plugged(requested=0, current=0), *nameless, config=[*nameless, helpers.virtio_mem()])
    domain = domain._replace(live=helpers.definition(helpers.dimm(alias="ua-live")))
    assert ("managed_save", "ua-vm0") in kinds(domain)
    assert len([kind for kind, _device in kinds(domain) if kind == "managed_save"]) == 1


def test_a_difference_is_told_with_what_each_side_has() -> None:
    live, config = plugged(node=1, size=2 * GIB), helpers.virtio_mem(node=None, size=4 * GIB)
    texts = [
        item["message"] for item in told(helpers.domain(helpers.definition(live), helpers.definition(config)))["drift"]
    ]
    assert any("node of ua-vm0 is 1 in the running guest and nothing in the configuration" in text for text in texts)
    assert any("2GiB in the running guest and 4GiB in the configuration" in text for text in texts)


def test_an_alignment_hides_no_other_difference() -> None:
    live = plugged(size=GIB + 2 * MIB, requested=GIB, node=1)
    config = helpers.virtio_mem(size=GIB + MIB, requested=GIB, node=0)
    domain = helpers.domain(helpers.definition(live), helpers.definition(config))
    assert [kind for kind, _device in kinds(domain) if kind == "property"] == ["property"]


@pytest.mark.parametrize(("state", "shown"), [("running", "running"), ("", None)])
def test_a_domain_that_can_not_be_read_is_told_with_what_is_known(state: str, shown: str | None) -> None:
    found = sums.unreadable("web1", "u", state, True, VirtmemError("domain_busy", "It is busy.", {}, "Wait."))
    assert (found["state"], found["problem"]["error_code"]) == (shown, "domain_busy")


@pytest.mark.parametrize(
    ("values", "versions", "error_code"),
    [
        ({"acpi": False}, helpers.BOOKWORM, "no_acpi"),
        ({"max_memory": None}, helpers.BOOKWORM, "no_max_memory"),
        ({"max_memory": GIB}, helpers.BOOKWORM, "insufficient_headroom"),
        ({"cells": (1,)}, helpers.BOOKWORM, "no_numa_node"),
        ({"slots": 0}, helpers.BOOKWORM, "no_free_slot"),
        ({"slots": 0}, helpers.TRIXIE, "no_free_slot"),
    ],
)
def test_a_configuration_that_cannot_be_started(values: dict[str, t.Any], versions: Versions, error_code: str) -> None:
    domain = helpers.domain(config=helpers.definition(helpers.dimm(alias="ua-d0"), **values))
    assert kinds(domain, versions) == [("next_boot", "ua-d0")]
    found = told(domain, versions)["drift"][0]
    assert found["config"]["error_code"] == error_code
    assert found["live"] is None


def test_what_can_be_started_depends_on_the_version() -> None:
    pmem = Device("virtio-pmem", GIB, alias="ua-pm0", path="/x", access="shared")
    domain = helpers.domain(config=helpers.definition(pmem))
    assert kinds(domain, helpers.BOOKWORM) == [("next_boot", "ua-pm0")]
    assert kinds(domain, helpers.TRIXIE) == []


def accounted(scope: str, **values: t.Any) -> Domain:
    """A domain of 1 GiB and a device, with these sums in one scope."""
    device = plugged() if scope == "live" else helpers.virtio_mem()
    right = helpers.definition(device, cell_sizes=(GIB,), current_memory=2 * GIB)
    return helpers.domain(**{scope: right._replace(**values)})


@pytest.mark.parametrize("scope", ["live", "config"])
@pytest.mark.parametrize(
    ("values", "number"),
    [
        ({}, 0),
        ({"total": 5 * GIB + KIB}, 1),  # neither more
        ({"total": 4 * GIB}, 1),  # nor less than the cells and the devices
        ({"cell_sizes": (), "total": 6 * GIB}, 0),  # without cells, nothing says what it should be
        ({"current_memory": 5 * GIB}, 0),  # a balloon that is full
        ({"current_memory": 5 * GIB + KIB}, 1),
        ({"current_memory": None}, 0),
        ({"total": 4 * GIB, "current_memory": 5 * GIB}, 2),
    ],
)
def test_sums_that_do_not_add_up(scope: str, values: dict[str, t.Any], number: int) -> None:
    domain = accounted(scope, **values)
    assert kinds(domain) == [("accounting", None)] * number
    for item in told(domain)["drift"]:
        assert item[scope]["devices"] == 4 * GIB
        assert item["config" if scope == "live" else "live"] is None


def test_a_guest_cannot_use_less_than_what_its_devices_have_plugged() -> None:
    assert kinds(accounted("live", current_memory=GIB - KIB)) == [("accounting", None)]
    assert kinds(accounted("live", current_memory=GIB)) == []
    # Without a balloon libvirt does not ask; and a configuration has nothing plugged.
    assert kinds(accounted("live", current_memory=GIB - KIB, balloon=False)) == []
    assert kinds(accounted("config", current_memory=GIB - KIB)) == []


# --- capacity


def test_memory_and_capacity_are_those_of_the_running_guest() -> None:
    live = helpers.definition(plugged(), current_memory=2 * GIB, free_ports=3)
    found = told(helpers.domain(live, helpers.definition(max_memory=99 * GIB)))
    assert found["memory"] == {
        "effective": 2 * GIB,
        "boot": GIB,
        "dimms": 0,
        "requested": GIB,
        "current": GIB,
        "usable": None,
        "at_boot": GIB,
        "total": 5 * GIB,
        "balloon": 2 * GIB,
    }
    assert found["capacity"]["max_memory"] == 16 * GIB
    assert found["capacity"]["headroom"] == 11 * GIB
    assert found["capacity"]["ports_free"] == 3


@pytest.mark.parametrize(("versions", "free"), [(helpers.BOOKWORM, 14), (helpers.TRIXIE, 15)])
def test_slots_are_counted_as_this_libvirt_does(versions: Versions, free: int) -> None:
    domain = helpers.domain(config=helpers.definition(helpers.virtio_mem(), helpers.dimm()))
    capacity = told(domain, versions)["capacity"]
    assert (capacity["slots"], capacity["slots_free"]) == (16, free)


def test_without_max_memory_there_is_no_headroom_to_speak_of() -> None:
    capacity = told(helpers.domain(config=helpers.definition(max_memory=None, slots=0)))["capacity"]
    assert capacity == {"max_memory": None, "headroom": None, "slots": 0, "slots_free": 0, "ports_free": 1}


# --- devices


def options(definition: Definition) -> list[tuple[t.Any, bool]]:
    """The place that options give each device of a configuration, and whether it is ambiguous."""
    devices = told(helpers.domain(config=definition))["devices"]
    for device in devices:
        assert (device["options"] is None) == bool(device["ambiguous"])
    return [
        (
            device["options"] and (device["options"].get("alias") or device["options"].get("slot")),
            bool(device["ambiguous"]),
        )
        for device in devices
    ]


def test_a_device_is_named_by_its_alias_or_by_what_no_other_has() -> None:
    assert options(helpers.definition(helpers.virtio_mem(alias=None), helpers.dimm())) == [(None, False), (None, False)]
    assert options(helpers.definition(helpers.virtio_mem(), helpers.virtio_mem(alias="ua-vm1"))) == [
        ("ua-vm0", False),
        ("ua-vm1", False),
    ]
    assert options(helpers.definition(helpers.dimm(slot=3), helpers.dimm(slot=5))) == [(3, False), (5, False)]
    cells = helpers.definition(helpers.dimm(node=0), helpers.dimm(node=1), cells=(0, 1))
    assert options(cells) == [(None, False), (None, False)]


def test_a_device_that_cannot_be_named_says_why() -> None:
    twins = helpers.definition(helpers.virtio_mem(alias=None), helpers.virtio_mem(alias=None))
    assert options(twins) == [(None, True), (None, True)]
    assert "2 devices" in told(helpers.domain(config=twins))["devices"][0]["ambiguous"]
    # Even beside one with an alias: without one, what is given fits both.
    beside = helpers.definition(helpers.virtio_mem(), helpers.virtio_mem(alias=None))
    assert options(beside) == [("ua-vm0", False), (None, True)]


def test_options_are_written_as_a_task_takes_them() -> None:
    nvdimm = Device(
        "nvdimm",
        GIB,
        alias="ua-nv0",
        node=0,
        path="/x",
        label_size=128 * KIB,
        pmem=True,
        readonly=True,
        alignsize=2 * MIB,
    )
    assert options_of(nvdimm) == {
        "model": "nvdimm",
        "size": "1GiB",
        "node": 0,
        "source": {"path": "/x", "alignsize": "2MiB", "pmem": True},
        "label_size": "128KiB",
        "readonly": True,
    }
    assert options_of(helpers.dimm(nodemask=(0, 1, 2, 4)))["source"] == {"nodemask": "0-2,4"}


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (ALL, ["ua-vm0", "ua-d0", None]),
        (Selection(models=["dimm"]), ["ua-d0", None]),
        (Selection(aliases=["ua-vm0", "ua-nobody"]), ["ua-vm0"]),
        (Selection(models=["dimm"], aliases=["ua-vm0"]), []),
        (Selection(models=[]), []),
    ],
)
def test_only_the_devices_that_are_asked_for(selection: Selection, expected: list[str | None]) -> None:
    config = helpers.definition(helpers.virtio_mem(), helpers.dimm(alias="ua-d0"), helpers.dimm(), acpi=False)
    found = told(helpers.domain(config=config), selection=selection)
    assert [device["alias"] for device in found["devices"]] == expected
    drifting = [alias or "dimm" for alias in expected if alias != "ua-vm0"]
    assert [item["device"] for item in found["drift"]] == drifting
    # What there is altogether does not depend on what is asked for.
    assert found["memory"]["total"] == 7 * GIB
    assert found["capacity"]["slots_free"] == 13


# --- the hypervisor, and all domains


def test_what_each_model_can_do_here() -> None:
    old, new = (sums.hypervisor(versions, None) for versions in (helpers.BOOKWORM, helpers.TRIXIE))
    assert (old["libvirt"], old["qemu"]) == ("9.0.0", "7.2.22")
    assert set(old["models"]) == set(MODELS)
    assert old["models"]["virtio-mem"] == {"supported": True, "hot_plug": True, "hot_unplug": False, "resize": True}
    assert new["models"]["virtio-mem"]["hot_unplug"] is True
    assert new["models"]["sgx-epc"] == {"supported": True, "hot_plug": False, "hot_unplug": False, "resize": False}
    ancient = sums.hypervisor(Versions(libvirt=7_000_000, hypervisor=5_002_000), None)
    assert not any(ancient["models"]["virtio-mem"].values())
    assert sums.hypervisor(Versions(1, 2, "TEST"), None)["qemu"] is None


def test_the_sums_are_those_of_all_that_is_listed() -> None:
    short = helpers.domain(
        helpers.definition(plugged(current=GIB // 4), helpers.dimm(alias="ua-d0")),
        helpers.definition(helpers.virtio_mem(), helpers.dimm(alias="ua-d0")),
    )
    off = helpers.domain(config=helpers.definition(helpers.dimm(alias="ua-d0"), acpi=False))
    error = VirtmemError("domain_busy", "It is busy.", {"timeout": 1}, "Wait.")
    busy = sums.unreadable("busy", helpers.UUID, "", True, error)
    assert busy["problem"] == {
        "error_code": "domain_busy",
        "msg": "It is busy.",
        "hint": "Wait.",
        "details": {"timeout": 1},
    }
    assert list(busy) == list(told(off))
    assert sums.summary([told(short), told(off), busy]) == {
        "domains": 3,
        "running": 1,
        "unreadable": 1,
        "guests_most": 3 * GIB,
        "devices": 3,
        "models": {**dict.fromkeys(MODELS, 0), "virtio-mem": 1, "dimm": 2},
        "size": 5 * GIB,
        "requested": 2 * GIB,
        "current": GIB + GIB // 4,
        "shortfall": GIB - GIB // 4,
        "not_converged": 1,
        "drift": 2,
        "drift_kinds": {**dict.fromkeys(DRIFTS, 0), "not_converged": 1, "next_boot": 1},
    }


def test_a_transient_domain_that_stopped_while_it_was_read_is_an_error_of_its_own() -> None:
    with pytest.raises(VirtmemError) as caught:
        told(Domain("web1", "u", "shutoff", persistent=False))
    assert caught.value.error_code == "domain_vanished"
    assert "web1" in caught.value.msg
    assert caught.value.details["state"] == "shutoff"
    assert caught.value.hint


# --- the host


def test_the_hosts_memory_is_told_by_node_and_pool() -> None:
    host = Host(
        pages={0: {4096: 1000, 2 * MIB: 10, GIB: 0}, 1: {4096: 1000, 2 * MIB: 5, GIB: 1}},
        page_sizes=frozenset({4096, 2 * MIB, GIB}),
    )
    memory = HostMemory(
        total=8 * GIB,
        available=3 * GIB,
        nodes={1: (4 * GIB, GIB), 0: (4 * GIB, 2 * GIB)},
        free_pages={0: {2 * MIB: 4, GIB: 0}, 1: {2 * MIB: 5}},
    )
    found = sums.host_memory(memory, host)
    assert found == {
        "total": 8 * GIB,
        "available": 3 * GIB,
        "nodes": [
            {"node": 0, "total": 4 * GIB, "free": 2 * GIB},
            {"node": 1, "total": 4 * GIB, "free": GIB},
        ],
        "pools": [
            {"node": 0, "size": 2 * MIB, "total": 10, "free": 4},
            {"node": 0, "size": GIB, "total": 0, "free": 0},
            {"node": 1, "size": 2 * MIB, "total": 5, "free": 5},
            {"node": 1, "size": GIB, "total": 1, "free": None},
        ],
    }
    assert sums.host_memory(None, None) is None
    assert sums.host_memory(None, host) is None
    assert sums.host_memory(memory, None) is None
    assert sums.host_memory(memory._replace(free_pages={}), host)["pools"][0]["free"] is None  # type: ignore[index]
    assert sums.hypervisor(helpers.BOOKWORM, found)["memory"] == found
