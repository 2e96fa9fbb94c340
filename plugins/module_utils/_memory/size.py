# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Quantities of memory: text to bytes, bytes to text, alignment.

The units are libvirt's (virScaleInteger): a letter alone or with `iB` is a power of 1024, with `B` a
power of 1000, and case does not matter.
"""

from __future__ import annotations

import re
import typing as t

from .errors import VirtmemError

KIB = 1024
MIB = 1024**2
GIB = 1024**3

# libvirt keeps memory sizes below this many bytes (virMemoryMaxValue).
LARGEST = 2**63 - 1

_PREFIXES = "kmgtpe"
UNITS: dict[str, int] = {"b": 1, "byte": 1, "bytes": 1}
for _power, _prefix in enumerate(_PREFIXES, start=1):
    UNITS[_prefix] = UNITS[_prefix + "ib"] = 1024**_power
    UNITS[_prefix + "b"] = 1000**_power

UNITS_HELP = "KiB, MiB, GiB, TiB (powers of 1024; K, M, G, T mean the same) or KB, MB, GB, TB (powers of 1000)"

_QUANTITY = re.compile(r"([0-9]+)\s*([A-Za-z]+)", re.ASCII)
_BARE = re.compile(r"[0-9]+", re.ASCII)
_FRACTION = re.compile(r"[0-9]*\.[0-9]+\s*[A-Za-z]*", re.ASCII)
_PERCENTAGE = re.compile(r"([0-9]{1,3})\s*%", re.ASCII)
_SHOWN = 60  # characters of a bad value that a message repeats


def shown(value: object) -> str:
    """A user's value for a message: quoted, on one line, cut if it is very long."""
    text = repr(str(value))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 4] + "...'"


def _bad(option: str, value: str, why: str, hint: str) -> VirtmemError:
    return VirtmemError(
        "invalid_quantity",
        f"{option}: {shown(value)} {why}",
        {"option": option, "value": value[:_SHOWN]},
        hint,
    )


def _with_unit(number: str) -> str:
    """A bare number with the unit that was probably meant: nobody has 6144 GiB or 6 MiB."""
    return number[:20] + ("GiB" if len(number.lstrip("0")) <= 3 and int(number) < 512 else "MiB")


def binary(text: str) -> str:
    """A quantity of a power of 1000 with the power of 1024 of the same letter; empty if it is none such."""
    match = _QUANTITY.fullmatch(text.strip())
    unit = match.group(2).upper() if match else ""
    return f"{match.group(1)[:20]}{unit[0]}iB" if match and len(unit) == 2 and unit.endswith("B") else ""


def parse(text: str, option: str = "size") -> int:
    """Bytes of a quantity such as `2GiB`, `512 MiB` or `0`.

    A bare number is refused, for its unit would be a guess; only zero is the same in every unit.

    Args:
        text: what the user wrote.
        option: the option's name, for the message.

    Raises:
        VirtmemError: `invalid_quantity`.
    """
    text = text.strip()
    match = _QUANTITY.fullmatch(text)
    if match and match.group(2).lower() in UNITS:
        digits = match.group(1).lstrip("0") or "0"
        # An enormous number never becomes an int: that alone would take Python quadratic time.
        if len(digits) <= len(str(LARGEST)):
            value = int(digits) * UNITS[match.group(2).lower()]
            if value <= LARGEST:
                return value
        raise _bad(option, text, f"is more than libvirt can count ({LARGEST} bytes).", "Give a smaller size.")
    if match:
        unit = match.group(2)
        # As Kubernetes writes it.
        meant = f"Write {match.group(1)[:20]}{unit}B. " if unit.lower() + "b" in UNITS else ""
        raise _bad(option, text, f"has the unknown unit {unit!r}.", f"{meant}Use one of {UNITS_HELP}.")
    if _BARE.fullmatch(text):
        if not text.strip("0"):
            return 0
        raise _bad(
            option,
            text,
            "has no unit.",
            f"Write the unit, for example {_with_unit(text)}; the units are {UNITS_HELP}.",
        )
    if text.startswith("-"):
        raise _bad(option, text, "is negative.", "A size is 0 or more.")
    if _FRACTION.fullmatch(text):
        raise _bad(option, text, "is not a whole number.", "Use a smaller unit, for example 1536MiB for 1.5GiB.")
    raise _bad(
        option,
        text,
        "is not a size.",
        f"Write a whole number and a unit, for example 2GiB; the units are {UNITS_HELP}.",
    )


def show(value: int) -> str:
    """Bytes as people write them: the largest binary unit that leaves a whole number (`1536MiB`)."""
    for power in range(len(_PREFIXES), 0, -1):
        if value and value % 1024**power == 0:
            return f"{value // 1024**power}{_PREFIXES[power - 1].upper()}iB"
    return f"{value}B" if value else "0"


def about(value: int) -> str:
    """Bytes that were measured, as people take them in: three digits or so (`405MiB`, `22.2GiB`)."""
    power = max(min((abs(value).bit_length() - 1) // 10, len(_PREFIXES)), 0)
    if power == 0:
        return show(value)
    number = value / 1024**power
    text = f"{number:.0f}" if number >= 100 else f"{number:.1f}".removesuffix(".0")
    return f"{text}{_PREFIXES[power - 1].upper()}iB"


def align_up(value: int, unit: int) -> int:
    """The next multiple of `unit` that is not below `value`."""
    return -(-value // unit) * unit


def align_down(value: int, unit: int) -> int:
    """The next multiple of `unit` that is not above `value`."""
    return value // unit * unit


def is_power_of_two(value: int) -> bool:
    """True for 1, 2, 4, 8 ..."""
    return value > 0 and value & (value - 1) == 0


class Tolerance(t.NamedTuple):
    """How far from the goal is near enough: so many bytes, or so many percent of the requested size."""

    bytes: int = 0
    percent: int = 0

    def of(self, requested: int) -> int:
        """The tolerance in bytes for this requested size."""
        return max(self.bytes, requested * self.percent // 100)


EXACT = Tolerance()


def parse_tolerance(text: str, option: str = "wait_tolerance") -> Tolerance:
    """A tolerance from `64MiB`, `0` or `5%`.

    Raises:
        VirtmemError: `invalid_quantity`.
    """
    match = _PERCENTAGE.fullmatch(text.strip())
    if not match:
        return Tolerance(bytes=parse(text, option))
    percent = int(match.group(1))
    if percent > 100:
        raise _bad(option, text, "is more than 100 percent.", "Give a percentage from 0% to 100%, or a size.")
    return Tolerance(percent=percent)
