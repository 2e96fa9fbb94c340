# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""A survey as a page of HTML that needs nothing else: what is wrong first, then each hypervisor with its guests."""

from __future__ import annotations

import collections
import dataclasses
import typing as t
from html import escape
from pathlib import Path

from ..module_utils._memory.size import about
from . import _fleet

# What the page calls each thing that is wrong, in the order in which it matters.
FAULTS: t.Mapping[str, str] = {
    "unreachable": "Not reached",
    "room": "Host without room",
    "not_usable": "Memory not usable",
    "not_converged": "Short of memory",
    "pressure": "Under pressure",
    "next_boot": "Can't start",
    "unreadable": "Not readable",
    "property": "Differs",
    "scope": "Differs",
    "managed_save": "Saved state differs",
    "accounting": "Sums differ",
    "staged": "Waits for a restart",
}

# More than so many things are shown when somebody asks for them.
_MOST_SHOWN = 30

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{when}</p>
</header>
<main>
"""
_TAIL = """</main>
<script>
{script}</script>
</body>
</html>
"""
_FIND = """<p class="find"><label>Find <input type="search" id="find" placeholder="guest, state"></label>
<label><input type="checkbox" id="wrong"> only what is wrong</label></p>
"""
_LEGEND = """<p class="legend" aria-hidden="true"><span class="boot"></span> boot
<span class="current"></span> delivered
<span class="lacking"></span> requested, not delivered
<span class="room"></span> can be given</p>
"""
# The columns of guests: how they are sorted at first, and what they are.
_COLUMNS = (
    ("Guest", "text"),
    ("State", "text"),
    ("Memory", "none"),
    ("Has", "number"),
    ("Boots with", "number"),
    ("Requested", "number"),
    ("Delivered", "number"),
    ("At most", "number"),
    ("Uses", "number"),
    ("Wrong", "number"),
)


def _size(value: int | None) -> str:
    """A cell with a size: rounded for people, exact for whoever sorts or copies it."""
    if value is None:
        return '<td class="n" data-n="-1">-</td>'
    return f'<td class="n" data-n="{value}" title="{value} bytes">{about(value)}</td>'


def _bar(guest: _fleet.Guest, widest: int) -> str:
    current = guest.requested if guest.current is None else guest.current
    parts = (
        ("boot", guest.boot),
        ("current", current),
        ("lacking", max(guest.requested - current, 0)),
        ("room", max(guest.size - max(guest.requested, current), 0)),
    )
    drawn = "".join(
        f'<i class="{name}" style="width:{100 * value / widest:.2f}%"></i>' for name, value in parts if value
    )
    said = f"{about(guest.boot + current)} of at most {about(guest.boot + guest.size)}"
    return f'<td class="bar"><span role="img" aria-label="{said}">{drawn}</span></td>'


def _row(guest: _fleet.Guest, widest: int, wrong: int) -> str:
    cells = [
        f'<th scope="row">{escape(guest.name)}</th><td>{escape(guest.state)}</td>',
        _bar(guest, widest),
        _size(guest.effective),
        _size(guest.boot),
        _size(guest.requested),
        _size(guest.current),
        _size(guest.boot + guest.size),
        _size(guest.used),
        f'<td class="n" data-n="{wrong}">{wrong or "-"}</td>',
    ]
    kinds = " ".join(kind for kind, is_so in (("wrong", wrong), ("off", not guest.running)) if is_so)
    return f'<tr class="{kinds}">{"".join(cells)}</tr>'


def _guests(host: _fleet.Host) -> str:
    widest = max((guest.boot + guest.size for guest in host.guests), default=1) or 1
    heads = "".join(
        f'<th scope="col">{title}</th>'
        if kind == "none"
        else f'<th scope="col" aria-sort="none"><button type="button" data-kind="{kind}">{title}</button></th>'
        for title, kind in _COLUMNS
    )
    counted = {guest.name: 0 for guest in host.guests}
    for fault in host.faults:
        if fault.domain in counted:
            counted[fault.domain] += 1
    rows = "\n".join(_row(guest, widest, counted[guest.name]) for guest in host.guests)
    return (
        f'<table class="guests"><caption>Guests of {escape(host.name)}</caption>'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>\n"
    )


def _host(host: _fleet.Host) -> str:
    said = escape(" · ".join(part for part in (host.uri, host.versions) if part))
    parts = [f'<section class="host">\n<h2>{escape(host.name)}</h2>\n<p class="about">{said}</p>\n']
    if host.total and host.available is not None:
        used = host.total - host.available
        text = f"{about(host.available)} of {about(host.total)} available"
        parts.append(
            f'<p class="room-of-host"><meter min="0" max="{host.total}" high="{host.total - host.least}" optimum="0" '
            f'value="{used}">{text}</meter> '
            f'<span data-n="{host.available}">{text}</span></p>\n'
        )
    parts.append(_guests(host) if host.guests else "<p>No guests were read.</p>\n")
    return "".join([*parts, "</section>\n"])


def _in_order(hosts: t.Iterable[_fleet.Host]) -> list[_fleet.Fault]:
    """What is wrong with all of them, the worst kind first."""
    order = list(FAULTS)
    every = [fault for host in hosts for fault in host.faults]
    return sorted(every, key=lambda fault: (order.index(fault.kind), fault.host, fault.domain or ""))


def faults(hosts: t.Iterable[_fleet.Host]) -> list[dict[str, t.Any]]:
    """What is wrong, in the order of the page."""
    told = _in_order(hosts)
    where = (f"{fault.host} {fault.domain}" if fault.domain else fault.host for fault in told)
    return [{**dataclasses.asdict(fault), "message": f"{place}: {fault.text}"} for place, fault in zip(where, told)]


def _wrong(faults: t.Sequence[_fleet.Fault]) -> str:
    if not faults:
        return '<section class="faults"><h2>Nothing is wrong</h2></section>\n'
    rows = "\n".join(
        f'<tr class="{fault.kind}"><td>{FAULTS[fault.kind]}</td><td>{escape(fault.host)}</td>'
        f"<td>{escape(fault.domain or '')}</td><td>{escape(fault.text)}</td></tr>"
        for fault in faults
    )
    heads = "".join(f'<th scope="col">{title}</th>' for title in ("What", "Host", "Guest", "Why"))
    counted = collections.Counter(FAULTS[fault.kind] for fault in faults)
    sums = " · ".join(f"{name} {counted[name]}" for name in dict.fromkeys(FAULTS.values()) if counted[name])
    table = (
        f"<table><caption>What is wrong</caption><thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>\n"
    )
    is_open = " open" if len(faults) <= _MOST_SHOWN else ""
    return (
        f'<section class="faults">\n<h2>{_many(len(faults), "thing is", "things are")} wrong</h2>\n'
        f"<details{is_open}><summary>{sums}</summary>\n{table}</details>\n</section>\n"
    )


def _many(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def page(hosts: t.Sequence[_fleet.Host], title: str, when: str) -> str:
    """The page.

    Args:
        hosts: all of them, in order.
        title: of the page.
        when: the survey was made.
    """
    style, script = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    guests = sum(len(host.guests) for host in hosts)
    told = f"{when} · {_many(len(hosts), 'hypervisor', 'hypervisors')} · {_many(guests, 'guest', 'guests')}"
    parts = [_HEAD.format(title=escape(title), when=escape(told), style=style)]
    parts.append(_wrong(_in_order(hosts)))
    parts += [_FIND, _LEGEND] if guests else []
    parts += [_host(host) for host in hosts]
    return "".join([*parts, _TAIL.format(script=script)])
