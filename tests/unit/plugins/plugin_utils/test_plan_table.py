# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results of memory_layout as rows, sums, guards and a table; and the role that takes them."""

from __future__ import annotations

import copy
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.virtmem.libvirt.plugins.filter import plan_guard, plan_summary, plan_table
from ansible_collections.virtmem.libvirt.plugins.module_utils import _options
from ansible_collections.virtmem.libvirt.plugins.plugin_utils import _guard, _plan, _table

GIB = 1024**3
ROLE = Path(_plan.__file__).parents[2] / "roles" / "sizing"

Dict = dict[str, t.Any]


# --- results, as the modules give them


def side(requested: int, size: int = 8, **more: t.Any) -> Dict:
    """One side of a virtio-mem device, sizes in GiB."""
    return {
        "model": "virtio-mem",
        "alias": "ua-vm0",
        "size": size * GIB,
        "requested": requested * GIB,
        "block": 2097152,
        "node": 0,
        **more,
    }


def device(live: Dict | None, config: Dict | None, alias: str | None = "ua-vm0", converged: bool | None = True) -> Dict:
    """A device of a result."""
    either = live or config or {"model": "virtio-mem"}
    return {"alias": alias, "model": either["model"], "live": live, "config": config, "converged": converged}


def both(requested: int, size: int = 8, current: int | None = None, **more: t.Any) -> Dict:
    """A device that is the same in both scopes."""
    has = requested if current is None else current
    return device(side(requested, size, current=has * GIB), side(requested, size), converged=has == requested, **more)


def failure(code: str = "insufficient_headroom") -> Dict:
    return {"msg": "size: it does not fit.", "error_code": code, "details": {}, "hint": "Make room."}


def domain(*devices: Dict | None, state: str = "running", persistent: bool = True, **more: t.Any) -> Dict:
    """A domain of a result of memory_layout."""
    found = {"name": "web1", "uuid": "u1", "state": state, "persistent": persistent}
    result = {"name": "web1", "domain": found, "devices": list(devices), "steps": [], "failure": None, "changed": False}
    return {**result, "restart_required": False, "restart_reasons": [], **more}


def layout(*domains: Dict) -> Dict:
    """A result of memory_layout."""
    reasons = [f"{item['name']}: {reason}" for item in domains for reason in item["restart_reasons"]]
    failed = [item["name"] for item in domains if item["failure"]]
    return {"domains": list(domains), "failed_domains": failed, "restart_reasons": reasons}


def known(*devices: Dict, **more: t.Any) -> Dict:
    """A result of memory_device_info."""
    capacity = {"max_memory": 16 * GIB, "slots": 16, "slots_free": 15, "ports_free": 2}
    return {"domains": [{"name": "web1", "uuid": "u1", "devices": list(devices), "capacity": capacity, **more}]}


WISH: Dict = {"name": "web1", "devices": [{"alias": "vm0", "requested": "2GiB", "size": "8GiB"}]}


def remember(planned: Dict, inventory: Dict) -> Dict:
    """The plan, whose devices know what they were: as the inventory has the device of that place."""
    for item in planned["domains"]:
        there = [*inventory["domains"][0]["devices"], *[{"live": None, "config": None}] * 9]
        for place, planned_device in enumerate(item["devices"]):
            if planned_device is not None:
                planned_device["before"] = {scope: there[place][scope] for scope in ("live", "config")}
    return planned


def rows_of(planned: Dict, inventory: Dict, wish: Dict | None = None, applied: Dict | None = None) -> list[Dict]:
    remember(planned, inventory)
    rows: list[Dict] = _plan.summary(planned, inventory, [wish or WISH], applied)["rows"]
    return rows


# --- what happens


@pytest.mark.parametrize(
    ("before", "after", "action"),
    [
        (both(1), both(1), "nothing"),
        (both(1), both(2), "grow (live, config)"),
        (both(2), both(1), "shrink (live, config)"),
        (device(side(1), side(2)), both(2), "grow (live)"),
        (device(side(1), side(1)), device(side(2), side(2, 16)), "grow (live), change and grow (config)"),
        (None, both(1), "attach (live, config)"),
        (both(1), device(None, None), "remove (live, config)"),
        (both(1), device(side(0), None), "shrink (live), remove (config)"),
        (device(side(1, node=0), None), device(side(1, node=1), None), "replace (live)"),
    ],
)
def test_what_happens(before: Dict | None, after: Dict, action: str) -> None:
    [row] = rows_of(layout(domain(after)), known(*([before] if before else [])))
    assert row["action"] == action


def test_what_moves_by_itself_is_no_action() -> None:
    before = device(side(1, current=0, address="pci 0000:01:00.0"), side(1))
    after = device(side(1, current=GIB, address="pci 0000:02:00.0"), side(1))
    assert rows_of(layout(domain(after)), known(before))[0]["action"] == "nothing"


def test_now_and_wanted_as_people_read_them() -> None:
    [row] = rows_of(layout(domain(both(2))), known(both(1)))
    assert (row["domain"], row["device"]) == ("web1", "ua-vm0")
    assert (row["now"], row["wanted"], row["restart"]) == ("1GiB of 8GiB", "2GiB of 8GiB", False)


def test_what_the_next_boot_brings_is_said_where_it_is_something_else() -> None:
    planned = domain(device(side(2), side(2, 16)), restart_required=True)
    [row] = rows_of(layout(planned), known(device(side(1), None)))
    assert row["now"] == "1GiB of 8GiB (none at boot)"
    assert row["wanted"] == "2GiB of 8GiB (2GiB of 16GiB at boot)"
    assert row["restart"]


def test_a_guest_that_has_not_got_there_is_seen() -> None:
    [row] = rows_of(layout(domain(both(2))), known(both(2, current=1)))
    assert row["now"] == "2GiB of 8GiB, the guest has 1GiB"


@pytest.mark.parametrize(("state", "persistent"), [("shutoff", True), ("running", False)])
def test_a_domain_with_one_scope_needs_no_restart(state: str, persistent: bool) -> None:
    sides = (None, side(2)) if state == "shutoff" else (side(2), None)
    [row] = rows_of(layout(domain(device(*sides), state=state, persistent=persistent)), known())
    assert (row["now"], row["wanted"], row["restart"]) == ("none", "2GiB of 8GiB", False)


def test_other_models_have_one_size() -> None:
    dimm = {"model": "dimm", "size": GIB, "alias": "ua-d0"}
    [row] = rows_of(layout(domain(device(dimm, dimm, "ua-d0"))), known())
    assert (row["wanted"], row["leaves"]) == ("1GiB", GIB)


def test_each_device_has_its_own_past() -> None:
    first, second = {**both(2), "before": both(1)}, {**both(4, alias="ua-vm1"), "before": both(3)}
    rows = _plan.summary(layout(domain(second, first)), known(), [WISH])["rows"]
    assert [row["now"] for row in rows] == ["3GiB of 8GiB", "1GiB of 8GiB"]


# --- the domain itself

READY = {**WISH, "max_memory": "32GiB", "slots": 16, "spare_ports": 4}


def test_readiness_is_a_row_of_its_own() -> None:
    step = {"op": "prepare", "scope": "config", "xml": "<domain/>"}
    planned = domain(both(1), steps=[step], restart_required=True, restart_reasons=["maxMemory"])
    rows = rows_of(layout(planned), known(both(1)), READY)
    assert [row["device"] for row in rows] == ["(domain)", "ua-vm0"]
    assert rows[0]["now"] == "maxMemory 16GiB, 16 slots, 2 free ports"
    assert rows[0]["wanted"] == "maxMemory 32GiB, 16 slots, 4 free ports"
    assert (rows[0]["action"], rows[0]["restart"]) == ("prepare (config)", True)
    assert not rows[1]["restart"]
    notes = _plan.summary(layout(planned), known(both(1)), [READY])["notes"]
    assert (notes[0].startswith("To be shut down and started"), notes[1:]) == (True, ["web1: maxMemory"])


def test_readiness_tells_what_nobody_declared() -> None:
    step = {"op": "prepare", "scope": "config", "xml": "<domain/>", "adds": ["max_memory", "numa_cell", "acpi"]}
    rows = rows_of(layout(domain(both(1), steps=[step])), known(both(1)), READY)
    assert rows[0]["wanted"] == "maxMemory 32GiB, 16 slots, 4 free ports, a NUMA cell, ACPI"


@pytest.mark.parametrize(
    ("declared", "now", "wanted"),
    [
        ({"max_memory": "32GiB"}, "maxMemory 16GiB", "maxMemory 32GiB"),
        ({"slots": 8, "spare_ports": 4}, "16 slots, 2 free ports", "8 slots, 4 free ports"),
        ({"statistics_period": 5}, "", "statistics every 5 s"),
    ],
)
def test_readiness_shows_of_the_domain_only_what_is_declared(declared: dict[str, t.Any], now: str, wanted: str) -> None:
    """Nobody reads a table whose lines a terminal breaks."""
    rows = rows_of(layout(domain(both(1))), known(both(1)), {**WISH, **declared})
    assert (rows[0]["device"], rows[0]["now"], rows[0]["wanted"]) == ("(domain)", now, wanted)


def test_a_restart_for_a_device_is_not_one_for_the_domain() -> None:
    planned = domain(device(side(1), side(1, 16)), restart_required=True)
    rows = rows_of(layout(planned), known(both(1)), {**WISH, "max_memory": "16GiB"})
    assert [row["restart"] for row in rows] == [False, True]


def test_a_domain_without_devices_is_shown_too() -> None:
    [row] = rows_of(layout(domain()), known(), {"name": "web1"})
    assert (row["device"], row["wanted"]) == ("(domain)", "no device is declared")


# --- failures


def test_a_plan_that_is_refused_shows_what_was_wished() -> None:
    refused = domain(both(1), failure=failure())
    [row] = rows_of(layout(refused), known(both(1)), {**WISH, "devices": [{"alias": "vm0", "size": "64GiB"}]})
    assert (row["now"], row["wanted"], row["outcome"]) == ("1GiB of 8GiB", "64GiB", "failed")


def test_one_refused_domain_keeps_the_others_from_their_change() -> None:
    fine = domain(both(2))
    idle = copy.deepcopy(fine)
    refused = {**domain(failure=failure("domain_not_found")), "name": "web9", "domain": None}
    idle["name"] = "web2"
    planned = remember(layout(fine, refused, idle), known(both(1)))
    wishes = [WISH, {**WISH, "name": "web9"}, {**WISH, "name": "web2"}]
    summary = _plan.summary(planned, known(both(1)), wishes)
    assert [row["outcome"] for row in summary["rows"]] == ["not done", "failed", "not done"]
    assert [row["now"] for row in summary["rows"]][1] == "unknown"
    assert summary["notes"] == ["Failed: web9: size: it does not fit.", "Hint: Make room."]
    assert summary["failures"]["web9"]["error_code"] == "domain_not_found"


def test_a_device_that_can_not_be_told_is_named_after_its_declaration() -> None:
    [row] = rows_of(layout(domain(None, failure=failure())), known(both(1)))
    assert (row["device"], row["now"], row["wanted"]) == ("vm0", "unknown", "2GiB of 8GiB")


def test_a_plan_without_failures_has_no_outcome() -> None:
    assert rows_of(layout(domain(both(2))), known(both(1)))[0]["outcome"] is None


# --- what became of it


def outcome(before: Dict, planned: Dict, applied: Dict) -> tuple[str, str | None]:
    [row] = rows_of(layout(planned), known(before), applied=layout(applied))
    return row["outcome"], row["reached"]


def test_outcomes() -> None:
    assert outcome(both(1), domain(both(2)), domain(both(2))) == ("reached", "2GiB")
    assert outcome(both(2), domain(both(2)), domain(both(2))) == ("unchanged", "2GiB")
    late = domain(both(2, current=1))
    assert outcome(both(1), domain(both(2)), {**late, "failure": failure("not_converged")}) == ("failed", "1GiB")
    # Not waited for.
    assert outcome(both(1), domain(both(2)), late) == ("requested", "1GiB")


def test_staged_stopped_and_broken_off() -> None:
    staged = domain(device(side(1, current=GIB), side(1, 16)), restart_required=True)
    assert outcome(both(1), staged, staged) == ("staged", "1GiB")
    stopped = domain(device(None, side(2), converged=None), state="shutoff")
    assert outcome(device(None, side(1)), stopped, stopped) == ("done", None)
    broken = domain(both(1), failure=failure("libvirt_error"))
    assert outcome(both(1), domain(both(2)), broken) == ("failed", "1GiB")
    gone = domain(device(None, None))
    assert outcome(both(1), gone, gone) == ("reached", "none")


def test_a_device_that_got_there_has_not_failed_with_its_domain() -> None:
    got, lacks = both(2), both(2, current=0, alias="ua-vm1")
    planned, applied = layout(domain(got, lacks)), layout(domain(got, lacks, failure=failure("not_converged")))
    rows = rows_of(planned, known(both(1)), applied=applied)
    assert [row["outcome"] for row in rows] == ["reached", "failed"]


def test_the_domain_of_a_broken_run_is_not_said_to_be_ready() -> None:
    step = {"op": "prepare", "scope": "config", "xml": "<domain/>"}
    planned = domain(steps=[step])
    applied = domain(steps=[step], failure=failure("libvirt_error"))
    [row] = rows_of(layout(planned), known(), READY, layout(applied))
    assert row["outcome"] == "failed"


# --- guards


def plan_for(before: Dict, after: Dict, **wish: t.Any) -> Dict:
    summary: Dict = _plan.summary(remember(layout(domain(after)), known(before)), known(before), [{**WISH, **wish}])
    return summary


def test_the_sums() -> None:
    summary = plan_for(device(side(4), side(3)), both(1))
    assert (summary["total"], summary["shrinks"], summary["shrinks_percent"]) == (4 * GIB, 3 * GIB, 75.0)


@pytest.mark.parametrize(("allowed", "complaints"), [(75.0, 0), (74.9, 1), (100.0, 0), (0.0, 1)])
def test_a_run_may_only_take_so_much(allowed: float, complaints: int) -> None:
    assert len(_guard.guard(plan_for(both(4), both(1)), allowed, "0")) == complaints


def test_growth_needs_no_permission() -> None:
    assert _guard.guard(plan_for(both(1), both(4)), 0, "8GiB") == []


def test_growth_of_one_does_not_pay_for_another() -> None:
    grows, shrinks = both(1), both(4, alias="ua-vm1")
    after = layout(domain(both(4), both(1, alias="ua-vm1")))
    there = known(grows, shrinks)
    assert _plan.summary(remember(after, there), there, [WISH])["shrinks"] == 3 * GIB


@pytest.mark.parametrize(("least", "complaints"), [("0", 0), ("1GiB", 0), ("1025MiB", 1)])
def test_no_device_shrinks_below_the_minimum(least: str, complaints: int) -> None:
    assert len(_guard.guard(plan_for(both(4), both(1)), 100, least)) == complaints


def test_removal_needs_an_exclusive_domain() -> None:
    gone = device(None, None)
    [complaint] = _guard.guard(plan_for(both(4), gone), 100, "1GiB")
    assert "ua-vm0 of web1 would be removed" in complaint
    assert _guard.guard(plan_for(both(4), gone, exclusive=True), 100, "1GiB") == []


def test_a_removal_is_a_shrink() -> None:
    assert len(_guard.guard(plan_for(both(4), device(None, None), exclusive=True), 50, "0")) == 1


# --- the table


def test_the_table() -> None:
    rows = rows_of(layout(domain(both(2))), known(both(1)))
    assert _table.table(rows) == [
        "DOMAIN  DEVICE  NOW           WANTED        WHAT HAPPENS",
        "web1    ua-vm0  1GiB of 8GiB  2GiB of 8GiB  grow (live, config)",
    ]


def test_the_table_of_a_run_has_what_was_reached() -> None:
    rows = rows_of(layout(domain(both(2))), known(both(1)), applied=layout(domain(both(2))))
    assert _table.table(rows) == [
        "DOMAIN  DEVICE  NOW           WANTED        REACHED  OUTCOME",
        "web1    ua-vm0  1GiB of 8GiB  2GiB of 8GiB  2GiB     reached",
    ]


@pytest.mark.parametrize("reached", [None, "3GiB"])
def test_a_table_is_no_wider_than_a_terminal_and_loses_no_word(reached: str | None) -> None:
    now = "16GiB of 64GiB (0 of 128GiB at boot), the guest has 1536MiB"
    action = "grow (live), change and shrink (config)"
    row = {"domain": "postgresql-0", "device": "ua-vm0", "now": now, "wanted": now, "action": action}
    lines = _table.table([{**row, "restart": True, "reached": reached, "outcome": None}])
    assert max(map(len, lines)) <= 80 - len('        "",')
    told = " ".join(lines)
    for word in f"{now} {action} yes".split():
        assert word in told
    # The first line of each row begins it, whatever follows.
    assert lines[0].startswith("DOMAIN ")


# --- what the guest has in all


def memory(effective: int, at_boot: int | None, declared: int | None = None, current: int | None = None) -> Dict:
    """The memory of a domain's result, sizes in GiB."""
    sums = {"effective": effective, "boot": 1, "dimms": 0, "fixed": 0, "requested": effective - 1}
    sums.update(declared=declared or effective, current=effective - 1 if current is None else current)
    return {**{name: value * GIB for name, value in sums.items()}, "at_boot": at_boot and at_boot * GIB, "usable": None}


def memory_row(before: Dict, after: Dict, applied: Dict | None = None, **more: t.Any) -> Dict:
    """The row about the guest, which comes before its devices."""
    planned = layout(domain(both(2), memory=after, **more))
    result = applied and layout(domain(both(2), memory=applied, **more))
    row, *devices = rows_of(planned, known(both(1), memory=before), {"name": "web1", "memory": "3GiB"}, result)
    assert row["device"] == "(memory)"
    assert [item["device"] for item in devices] == ["ua-vm0"]
    return row


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (memory(2, 2), memory(3, 3), ("2GiB", "3GiB", "grow (live, config)", False)),
        (memory(3, 3), memory(2, 2), ("3GiB", "2GiB", "shrink (live, config)", False)),
        (memory(3, 3), memory(3, 3), ("3GiB", "3GiB", "nothing", False)),
        (memory(2, 2), memory(2, 6, 6), ("2GiB", "2GiB (6GiB at boot), declared 6GiB", "grow (config)", True)),
        (memory(2, 6), memory(2, 6, 6), ("2GiB (6GiB at boot)", "2GiB (6GiB at boot), declared 6GiB", "nothing", True)),
        (memory(4, 4), memory(4, 4, 2), ("4GiB", "4GiB, declared 2GiB", "nothing", False)),  # a floor
    ],
)
def test_the_row_of_a_guest(before: Dict, after: Dict, told: tuple[str, str, str, bool]) -> None:
    row = memory_row(before, after)
    assert (row["now"], row["wanted"], row["action"], row["restart"]) == told


@pytest.mark.parametrize(
    ("applied", "outcome", "reached"),
    [
        (memory(3, 3), "reached", "3GiB"),
        (memory(3, 3, current=1), "requested", "2GiB"),
        (memory(2, 3, 3), "reached", "2GiB"),
    ],
)
def test_what_became_of_a_guest(applied: Dict, outcome: str, reached: str) -> None:
    row = memory_row(memory(2, 2), memory(3, 3), applied)
    assert (row["outcome"], row["reached"]) == (outcome, reached)


def test_a_guest_that_failed_has_failed() -> None:
    planned = layout(domain(both(2), memory=memory(3, 3)))
    applied = layout(domain(both(2, current=1), memory=memory(3, 3, current=1), failure=failure("not_converged")))
    row = rows_of(planned, known(both(1), memory=memory(2, 2)), {"name": "web1", "memory": "3GiB"}, applied)[0]
    assert (row["device"], row["outcome"]) == ("(memory)", "failed")


# --- the whole plan in a line


def sentence(planned: Dict, inventory: Dict, **host: t.Any) -> str:
    """What stands below the table."""
    remember(planned, inventory)
    told: str = _plan.summary(planned, {**inventory, **host}, [WISH])["sentence"]
    return told


def test_the_sentence() -> None:
    host = {"hypervisor": {"memory": {"total": 128 * GIB, "available": 61 * GIB}}}
    assert sentence(layout(domain(both(2))), known(both(1)), **host) == (
        "1 guest: 1 to grow by 1GiB. The host has 61GiB of 128GiB available."
    )
    assert sentence(layout(domain(both(1))), known(both(3))) == "1 guest: 1 to shrink by 2GiB."
    assert sentence(layout(domain(both(1))), known(both(1))) == "1 guest: nothing to do."
    assert sentence(layout(domain(device(side(1), side(1, 16)))), known(both(1))) == (
        "1 guest: 1 to be shut down and started by their owners."
    )


def test_no_rows_make_no_table() -> None:
    assert _table.table([]) == []


def test_nothing_is_known_of_a_host_that_does_not_answer() -> None:
    summary = _plan.summary({"msg": "no", "domains": []}, {"msg": "no"}, [WISH])
    assert (summary["rows"], summary["total"], summary["shrinks_percent"]) == ([], 0, 0.0)


# --- what Ansible sees of it


def test_the_filters_have_their_names() -> None:
    filters = {}
    for module in (plan_summary, plan_guard, plan_table):
        filters.update(module.FilterModule().filters())
    assert filters == {"plan_summary": _plan.summary, "plan_guard": _guard.guard, "plan_table": _table.table}


def _specs() -> Dict:
    options: Dict = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"][
        "options"
    ]
    return options


def _shape(options: t.Mapping[str, t.Any]) -> Dict:
    """The options without what only one of the two ways of writing has."""
    kept = ("type", "elements", "choices", "default", "required")
    return {
        name: {
            **{key: option[key] for key in kept if key in option},
            **({"options": _shape(option["options"])} if "options" in option else {}),
        }
        for name, option in options.items()
    }


def test_the_role_waits_as_the_module_does() -> None:
    specs = _specs()
    for name, option in _options.WAIT_OPTIONS.items():
        if name != "wait_timeout":  # for a whole host
            assert _shape({name: specs[f"sizing_{name}"]}) == _shape({name: option})


def test_the_role_knows_its_own_variables() -> None:
    known = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["__sizing_variables"]
    assert known == [*_specs(), "sizing_hosts", "sizing_serial", "sizing_result"]


def test_the_defaults_are_those_that_are_documented() -> None:
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    assert defaults == {name: option["default"] for name, option in _specs().items() if "default" in option}


@pytest.mark.parametrize("applied", [False, True])
def test_what_is_there_and_not_declared_has_a_row(applied: bool) -> None:
    old = device(side(1, alias="ua-old"), side(1, alias="ua-old"), alias="ua-old")
    result = layout(domain(both(1), undeclared=["ua-old"]))
    rows = rows_of(result, known(both(1), old), applied=copy.deepcopy(result) if applied else None)
    assert [(row["device"], row["now"], row["wanted"], row["action"]) for row in rows] == [
        ("ua-vm0", "1GiB of 8GiB", "1GiB of 8GiB", "nothing"),
        ("ua-old", "1GiB of 8GiB", "not declared", "nothing"),
    ]
    assert rows[1]["outcome"] is None
    assert _plan.summary(result, known(both(1), old), [WISH])["pending"] == []


# --- many guests


def _many(outcomes: t.Sequence[str | None]) -> list[dict[str, t.Any]]:
    """Guests by their memory in all, with a device each; the third has one that waits for a restart by itself."""
    rows = []
    for number, outcome in enumerate(outcomes):
        common = {"domain": f"web{number}", "now": "1GiB", "wanted": "2GiB", "action": "grow", "outcome": outcome}
        rows.append({**common, "device": "(memory)", "restart": False})
        rows.append({**common, "device": "ua-vm0", "restart": number == 2})
    return rows


def test_a_short_plan_has_all_its_rows() -> None:
    rows = _many([None] * 3)
    assert plan_table.FilterModule().filters()["plan_table"](rows, 6) == _table.table(rows)
    assert len(_table.table(rows)) == 7


def test_of_a_long_plan_each_guest_has_its_row() -> None:
    lines = _table.table(_many([None] * 40), 24)
    assert [line.split()[:2] for line in lines[1:]] == [
        *(["web0", "(memory)"], ["web1", "(memory)"], ["web2", "(memory)"], ["web2", "ua-vm0"]),
        *([f"web{number}", "(memory)"] for number in range(3, 40)),
    ]


def test_what_is_declared_by_devices_keeps_them() -> None:
    rows = [{**row, "device": "ua-a" if row["device"] == "(memory)" else "ua-b"} for row in _many([None] * 30)]
    assert _table.table(rows, 24) == _table.table(rows)


def test_of_a_long_outcome_those_that_are_as_declared_are_counted() -> None:
    lines = _table.table(_many(["done"] * 10 + ["reached"] * 10 + ["failed"] + ["unchanged"] * 19), 24)
    assert [line.split()[0] for line in lines] == ["DOMAIN", "web20", "39"]
    assert lines[-1] == "39 guests: as declared"
    # The one whose device waits for a restart is one of them.
    assert _table.table(_many(["done"] * 40), 24) == ["40 guests: as declared"]
