# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The rows of a plan as a table that fits a terminal of 80 columns, whatever prints it."""

from __future__ import annotations

import textwrap
import typing as t

from ._plan import DONE, MEMORY_ROW, REACHED, UNCHANGED

Row = t.Mapping[str, t.Any]

_COLUMNS = (
    ("domain", "DOMAIN"),
    ("device", "DEVICE"),
    ("now", "NOW"),
    ("wanted", "WANTED"),
    ("action", "WHAT HAPPENS"),
    ("restart", "RESTART"),
    ("reached", "REACHED"),
    ("outcome", "OUTCOME"),
)
# Columns that are left out if no row has anything for them.
_OPTIONAL = ("restart", "reached", "outcome")


def _cell(value: t.Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "") else str(value)


# What is left of 80 columns by the ways in which Ansible prints a list: as JSON, with indentation, quotes and a comma.
_WIDTH = 69


def _widths(cells: t.Sequence[t.Sequence[str]]) -> list[int]:
    """The width of each column: as much as its longest cell takes, until all of them fit; never less than a word."""
    columns = list(zip(*cells))
    widths = [max(map(len, column)) for column in columns]
    least = [max(len(word) for text in column for word in text.split() or [""]) for column in columns]
    while sum(widths) + 2 * (len(widths) - 1) > _WIDTH and widths != least:
        widest = max((width, index) for index, width in enumerate(widths) if width > least[index])[1]
        widths[widest] -= 1
    return widths


# Outcomes of guests that have what is declared for them.
_FINE = (DONE, REACHED, UNCHANGED)


def _fewer(rows: t.Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The rows that say something of their own, and lines that say what the others have in common.

    A device of a guest whose memory is declared in all is left out, unless it waits for a restart that the guest does
    not; and so is, of what became of a plan, a guest that has it.
    """
    restarts = {row["domain"]: bool(row.get("restart")) for row in rows if row.get("device") == MEMORY_ROW}
    own = [row for row in rows if row.get("device") == MEMORY_ROW or _says_more(row, restarts.get(row["domain"]))]
    left = [row for row in own if row.get("outcome") not in _FINE]
    fine = {row["domain"] for row in own} - {row["domain"] for row in left}
    lines = [f"{len(fine)} guest{'s' if len(fine) > 1 else ''}: as declared"] if fine else []
    return left, lines


def _says_more(row: Row, restart: bool | None) -> bool:
    """Whether a device says more than its guest, of which is known whether it waits for a restart, if it is shown."""
    return restart is None or (bool(row.get("restart")) and not restart)


def table(rows: t.Sequence[Row], most: int | None = None) -> list[str]:
    """The rows as lines of a table; no lines if there are no rows.

    Args:
        rows: of a plan, or of what became of it.
        most: if there are more rows than this, those that say nothing of their own are left out.
    """
    if most is None or len(rows) <= most:
        return _lines(rows)
    left, more = _fewer(rows)
    return [*_lines(left), *more]


def _lines(rows: t.Sequence[Row]) -> list[str]:
    if not rows:
        return []
    told = {name for name in _OPTIONAL if any(row.get(name) for row in rows)}
    # An outcome says these two as well, and the plan has been shown before.
    spared = ("restart", "action") if "outcome" in told else ()
    columns = [
        (name, title) for name, title in _COLUMNS if name not in spared and (name in told or name not in _OPTIONAL)
    ]
    cells = [[title for _name, title in columns]]
    cells += [[_cell(row.get(name)) for name, _title in columns] for row in rows]
    widths = _widths(cells)
    lines = []
    for row in cells:
        wrapped = [textwrap.wrap(text, width, break_long_words=False) for text, width in zip(row, widths)]
        for number in range(max(map(len, wrapped))):
            parts = [part[number] if number < len(part) else "" for part in wrapped]
            lines.append("  ".join(text.ljust(width) for text, width in zip(parts, widths)).rstrip())
    return lines
