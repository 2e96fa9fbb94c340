# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What the results of memory_layout mean for people: a row for each device, and sums.

Pure functions of results, for the filters of the role `sizing`. They run on the controller.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.parsing.convert_bool import boolean

from ..module_utils._memory.device import CONFIG, LIVE
from ..module_utils._memory.size import about, parse, show

Result = t.Mapping[str, t.Any]
Row = dict[str, t.Any]

NOTHING = "nothing"
# The names of the rows that are about no device: the domain itself, and what its guest has in all.
_OWN_ROWS = DOMAIN_ROW, MEMORY_ROW = "(domain)", "(memory)"

# Outcomes of a row once there is a failure, or once the plan was carried out.
NOT_DONE, FAILED, UNCHANGED, REACHED, STAGED, DONE, REQUESTED = (
    *("not done", "failed", "unchanged", "reached", "staged", "done", "requested"),
)

# Above the reasons for it: people take a reboot for a restart.
_TO_START = "To be shut down and started; a reboot from inside is not enough:"

# A stopped domain has no running guest; every other state has one.
_STOPPED = ("shutoff",)


# --- one side of a device


def _is_resizable(side: Result) -> bool:
    """Whether a size is requested of the device."""
    return side.get("requested") is not None


def _held(side: Result | None) -> int:
    """The bytes of the host that a device may use in one scope."""
    if side is None:
        return 0
    return int(side["requested"] if _is_resizable(side) else side["size"])


def _text(side: Result | None) -> str:
    if side is None:
        return "none"
    if _is_resizable(side):
        return f"{show(side['requested'])} of {show(side['size'])}"
    return show(side["size"])


def _both(device: Result | None, scopes: t.Sequence[str]) -> str:
    """A device as people read it; if the next boot brings something else, that too."""
    texts = [_text((device or {}).get(scope)) for scope in scopes]
    if len(set(texts)) > 1:
        return f"{texts[0]} ({texts[1]} at boot)"
    return texts[0] if texts else "none"


def _declared(side: Result) -> dict[str, t.Any]:
    """What a task declares of a device: not what moves by itself, nor what libvirt chooses."""
    return {name: value for name, value in side.items() if name not in ("current", "address", "requested")}


def _verbs(before: Result | None, after: Result | None, scope: str) -> str:
    """What happens to one side of a device, in a word or two."""
    if before is None or after is None:
        return "" if before is after else "attach" if before is None else "remove"
    words = []
    if _declared(before) != _declared(after):
        words.append("replace" if scope == LIVE else "change")
    had, has = before.get("requested") or 0, after.get("requested") or 0
    if had != has:
        words.append("grow" if has > had else "shrink")
    return " and ".join(words)


def _action(verbs: t.Mapping[str, str]) -> str:
    told: dict[str, list[str]] = {}
    for scope, verb in verbs.items():
        if verb:
            told.setdefault(verb, []).append(scope)
    return ", ".join(f"{verb} ({', '.join(scopes)})" for verb, scopes in told.items()) or NOTHING


# --- rows


def _scopes(domain: Result | None) -> tuple[str, ...]:
    """The scopes that the domain has."""
    if domain is None:
        return (CONFIG,)
    live = (LIVE,) if domain["state"] not in _STOPPED else ()
    return (*live, *((CONFIG,) if domain["persistent"] else ()))


def _new_row(name: str, device: str, **more: t.Any) -> Row:
    row: Row = {"domain": name, "device": device, "model": None, "now": "unknown", "wanted": "unknown"}
    row.update(action=NOTHING, restart=False, shrinks=0, removes=False, resizable=False, leaves=None)
    row.update(reached=None, outcome=None)
    return {**row, **more}


def _device_row(name: str, device: Result, scopes: t.Sequence[str]) -> Row:
    was = device["before"]
    before = {scope: was.get(scope) for scope in scopes}
    after = {scope: device.get(scope) for scope in scopes}
    held_after = [_held(after[scope]) for scope in scopes if after[scope]]
    now = _both(was, scopes)
    live = before.get(LIVE)
    if live and live.get("current", live.get("requested")) != live.get("requested"):
        now += f", the guest has {show(live['current'])}"
    return _new_row(
        name,
        device["alias"] or device["model"] or "unknown",
        model=device["model"],
        now=now,
        wanted=_both(device, scopes),
        action=_action({scope: _verbs(before[scope], after[scope], scope) for scope in scopes}),
        # What the running guest is not given now, a restart gives it.
        restart=len(scopes) > 1 and _text(after[LIVE]) != _text(after[CONFIG]),
        shrinks=max((_held(before[scope]) - _held(after[scope]) for scope in scopes), default=0),
        removes=any(before[scope] and not after[scope] for scope in scopes),
        resizable=any(side and _is_resizable(side) for side in after.values()),
        leaves=min(held_after, default=None),
    )


def _added(steps: t.Sequence[Result]) -> list[str]:
    """What a domain gets without being told, since it can't take devices otherwise."""
    added = {name for step in steps for name in step.get("adds", ())}
    return [text for name, text in (("numa_cell", "a NUMA cell"), ("acpi", "ACPI")) if name in added]


def _domain_row(planned: Result, declared: Result, capacity: Result) -> Row | None:
    """The row about what makes a domain able to take devices, if that is declared."""
    limit, ports = capacity.get("max_memory"), capacity.get("ports_free")
    # How each is said, what is declared, what there is of it. Only what is declared: a terminal breaks long lines.
    words = (
        ("max_memory", "maxMemory {}", "none" if limit is None else show(limit)),
        ("slots", "{} slots", capacity.get("slots", 0)),
        ("spare_ports", "{} free ports", "no" if ports is None else ports),
        ("statistics_period", "statistics every {} s", None),
    )
    asked = [(text, declared[name], has) for name, text, has in words if declared.get(name) is not None]
    if not asked:
        return None
    wanted = [*(text.format(value) for text, value, _has in asked), *_added(planned["steps"])]
    now = [text.format(has) for text, _value, has in asked if has is not None]
    scopes = {step["scope"] for step in planned["steps"] if step["op"] == "prepare"}
    lacks = (
        (declared.get("max_memory") is not None and (limit or 0) < parse(declared["max_memory"]))
        or (declared.get("slots") is not None and int(declared["slots"]) != capacity.get("slots"))
        or (declared.get("spare_ports") is not None and int(declared["spare_ports"]) > (ports or 0))
    )
    return _new_row(
        planned["name"],
        DOMAIN_ROW,
        now=", ".join(now),
        wanted=", ".join(wanted),
        action=f"prepare ({', '.join(scope for scope in (LIVE, CONFIG) if scope in scopes)})" if scopes else NOTHING,
        restart=planned["restart_required"] and lacks,
    )


def _in_all(memory: Result, running: bool) -> str:
    """What a guest has in all; if the next boot brings something else, that too."""
    now, later = memory["effective"], memory["at_boot"]
    return f"{show(now)} ({show(later)} at boot)" if running and later not in (None, now) else show(now)


def _memory_row(planned: Result, known: Result, scopes: t.Sequence[str]) -> Row | None:
    """The row about what the guest has in all, if that is declared."""
    memory, before = planned.get("memory"), known.get("memory")
    if memory is None or not before:
        return None
    running = LIVE in scopes
    was = {LIVE: before["effective"], CONFIG: before["at_boot"] if running else before["effective"]}
    becomes = {LIVE: memory["effective"], CONFIG: memory["at_boot"] if running else memory["effective"]}
    verbs = {
        scope: "" if was[scope] == becomes[scope] else "grow" if becomes[scope] > was[scope] else "shrink"
        for scope in scopes
    }
    return _new_row(
        planned["name"],
        MEMORY_ROW,
        now=_in_all(before, running),
        # Rounded, a floor, or staged: what is had in the end is another number than what is declared.
        wanted=_in_all(memory, running)
        + ("" if memory["effective"] == memory["declared"] else f", declared {show(memory['declared'])}"),
        action=_action(verbs),
        restart=running and memory["at_boot"] not in (None, memory["effective"]),
    )


def _wish(device: Result) -> str:
    """What a declaration says of a device, if there is no plan that could."""
    if device.get("state") == "absent":
        return "none"
    sizes = [device.get("requested"), device.get("size")]
    return " of ".join(str(size) for size in sizes if size is not None) or "present"


def _unplanned_rows(planned: Result, declared: Result) -> list[Row]:
    """The rows of a domain that can't have what is declared for it: what there is, and what was wished."""
    name, scopes = planned["name"], _scopes(planned["domain"])
    wishes = declared.get("devices") or ()
    devices = planned["devices"] or [None] * len(wishes)
    rows = []
    for wish, device in zip(wishes, devices):
        now = "unknown" if device is None else _both(device, scopes)
        label = (device or {}).get("alias") or wish.get("alias") or wish.get("model") or "unknown"
        rows.append(_new_row(name, label, now=now, wanted=_wish(wish)))
    return rows or [_new_row(name, DOMAIN_ROW)]


def _rows(planned: Result, known: Result, declared: Result) -> list[Row]:
    """The rows of one domain as its plan has them."""
    if planned["failure"]:
        return _unplanned_rows(planned, declared)
    name, scopes = planned["name"], _scopes(planned["domain"])
    own = [_domain_row(planned, declared, known.get("capacity") or {}), _memory_row(planned, known, scopes)]
    rows = [*(row for row in own if row), *(_device_row(name, device, scopes) for device in planned["devices"])]
    return rows or [_new_row(name, DOMAIN_ROW, now="", wanted="no device is declared")]


def _undeclared_rows(planned: Result, known: Result) -> list[Row]:
    """The devices that are there and not declared: one may be declared under another name than before."""
    scopes = _scopes(planned["domain"])
    devices = {
        side["alias"]: device
        for device in known.get("devices") or ()
        for side in (device.get(LIVE), device.get(CONFIG))
        if side and side.get("alias")
    }
    return [
        _new_row(planned["name"], name, now=_both(devices.get(name, {}), scopes), wanted="not declared")
        for name in planned.get("undeclared") or ()
    ]


def _outcome(row: Row, planned: Result, applied: Result, device: Result | None) -> str:
    """What became of one row, told from the device as it is afterwards."""
    scopes = _scopes(applied["domain"])
    is_device = row["device"] not in _OWN_ROWS
    there = device is not None and _both(device, scopes) == row["wanted"]
    late = device is not None and device["converged"] is False
    if row["device"] == MEMORY_ROW:
        memory = applied.get("memory") or {"current": None}
        late = memory["current"] not in (None, memory.get("requested", 0) + memory.get("fixed", 0))
    # Of a domain that failed, what is there and was wanted has not failed.
    if applied["failure"] and (late or not there) and (is_device or row["action"] != NOTHING):
        return FAILED
    if row["restart"]:
        return STAGED
    if late:
        return REQUESTED
    if row["action"] == NOTHING:
        return UNCHANGED
    # A stopped domain has no guest that could have reached anything.
    is_guests = row["device"] != DOMAIN_ROW
    return REACHED if is_guests and planned["domain"]["state"] not in _STOPPED else DONE


def _reached(device: Result | None, scopes: t.Sequence[str]) -> str | None:
    if device is None or LIVE not in scopes:
        return None
    live = device[LIVE]
    if live is None:
        return "none"
    return show((live.get("current") or 0) if _is_resizable(live) else live["size"])


def _reached_in_all(applied: Result) -> str | None:
    """What a running guest has in all."""
    memory = applied.get("memory")
    if not memory or memory["current"] is None:
        return None
    return show(memory["boot"] + memory["dimms"] + memory["current"])


def _with_outcomes(rows: list[Row], planned: Result, applied: Result | None, anything_failed: bool) -> list[Row]:
    if applied is None or planned["failure"]:
        idle = (UNCHANGED, NOT_DONE) if anything_failed else (None, None)
        outcomes = (FAILED, FAILED) if planned["failure"] else idle
        return [{**row, "outcome": outcomes[row["action"] != NOTHING]} for row in rows]
    # Both runs list the same devices in the same order, but for those that went meanwhile; the last rows are theirs.
    devices = [*applied["devices"], *[None] * len(rows)]
    own = [None for row in rows if row["device"] in _OWN_ROWS]
    told = []
    for row, device in zip(rows, [*own, *devices]):
        reached = _reached(device, _scopes(applied["domain"]))
        if row["device"] == MEMORY_ROW:
            reached = _reached_in_all(applied)
        told.append({**row, "outcome": _outcome(row, planned, applied, device), "reached": reached})
    return told


def _complaints(failures: t.Mapping[str, Result]) -> list[str]:
    """Why each domain failed, and after those that fail alike what to do about it."""
    hints: dict[str, list[str]] = {}
    for name, failure in failures.items():
        # A message that names the domain already is not to name it twice.
        text = failure["msg"] if failure["msg"].startswith(f"{name}: ") else f"{name}: {failure['msg']}"
        hints.setdefault(failure.get("hint") or "", []).append(f"Failed: {text}")
    return [line for hint, texts in hints.items() for line in [*texts, *([f"Hint: {hint}"] if hint else [])]]


def _sentence(domains: t.Sequence[Result], inventory: Result, restarts: t.Sequence[Row]) -> str:
    """The whole plan in one line: how many guests grow, shrink and wait for a restart, and what the host has."""
    moves = []
    for domain in domains:
        scope = LIVE if LIVE in _scopes(domain["domain"]) else CONFIG
        sides = [(device["before"].get(scope), device.get(scope)) for device in domain["devices"] if device]
        moves.append(0 if domain["failure"] else sum(_held(after) - _held(before) for before, after in sides))
    grown, shrunk = [move for move in moves if move > 0], [-move for move in moves if move < 0]
    waiting = len({row["domain"] for row in restarts})
    parts = [f"{len(grown)} to grow by {show(sum(grown))}"] if grown else []
    parts += [f"{len(shrunk)} to shrink by {show(sum(shrunk))}"] if shrunk else []
    parts += [f"{waiting} to be shut down and started by their owners"] if waiting else []
    guests = "1 guest" if len(domains) == 1 else f"{len(domains)} guests"
    memory = (inventory.get("hypervisor") or {}).get("memory")
    room = f" The host has {about(memory['available'])} of {about(memory['total'])} available." if memory else ""
    return f"{guests}: {', '.join(parts) or 'nothing to do'}.{room}"


def summary(planned: Result, inventory: Result, declared: t.Sequence[Result], applied: Result | None = None) -> Row:
    """A plan, and what became of it, as rows and sums.

    Args:
        planned: the result of memory_layout in check mode.
        inventory: the result of memory_device_info before it.
        declared: the list of domains that both were about.
        applied: the result of memory_layout for real, if it ran.
    """
    known = {domain["uuid"]: domain for domain in inventory.get("domains") or ()}
    domains = planned.get("domains") or ()
    results = {result["name"]: result for result in (applied or {}).get("domains") or ()}
    wishes = {wish["name"]: wish for wish in declared}
    last = applied or planned
    failed = bool(last.get("failed_domains"))
    rows: list[Row] = []
    for domain in domains:
        wish, result = wishes[domain["name"]], results.get(domain["name"])
        before = known.get((domain["domain"] or {}).get("uuid"), {})
        mine = _rows(domain, before, wish)
        exclusive = boolean(wish.get("exclusive", False), strict=False)
        mine = [*_with_outcomes(mine, domain, result, failed), *_undeclared_rows(domain, before)]
        rows += [{**row, "exclusive": exclusive} for row in mine]
    total = sum(
        max(_held(device.get(LIVE)), _held(device.get(CONFIG)))
        for domain in known.values()
        for device in domain.get("devices") or ()
    )
    shrinks = sum(max(row["shrinks"], 0) for row in rows)
    ended = [results.get(domain["name"], domain) for domain in domains]
    failures = {domain["name"]: domain["failure"] for domain in ended if domain["failure"]}
    reasons = list(last.get("restart_reasons") or ())
    return {
        "rows": rows,
        "total": total,
        "shrinks": shrinks,
        "shrinks_percent": round(100 * shrinks / total, 1) if total else 0.0,
        "pending": [row for row in rows if row["action"] != NOTHING],
        "failures": failures,
        "restart_reasons": reasons,
        "sentence": _sentence(domains, inventory, [row for row in rows if row["restart"]]),
        "notes": [*([_TO_START] if reasons else []), *reasons, *_complaints(failures)],
    }
