# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The options of the modules: their argument specs by family, and what users write turned into values.

Each family has its doc fragment.
"""

from __future__ import annotations

import math
import re
import typing as t

from ._memory import guest, identity, size
from ._memory.device import ABSENT, PRESENT, Declaration, Wish, parse_nodeset
from ._memory.errors import VirtmemError
from ._memory.models import MODELS
from ._memory.properties import ADDRESS, FLAG, NODESET, NUMBER, PROPERTIES, SIZE, TEXT, YES_NO

if t.TYPE_CHECKING:
    from ._apply.job import Order
    from ._apply.task import Patience
    from ._memory.inventory.results import Selection
    from ._memory.plan.guards import Guards

# --- the families

CONNECTION_OPTIONS: dict[str, t.Any] = {
    "uri": {"type": "str", "default": "qemu:///system"},
}

# How a property is given, by how it is written.
_TYPES = {SIZE: "str", TEXT: "str", NODESET: "str", ADDRESS: "str", NUMBER: "int", YES_NO: "bool", FLAG: "bool"}
_CHOICES = {"model": list(MODELS), "access": ["shared", "private"]}


def _property_options() -> dict[str, t.Any]:
    """An option for each property of the table, those of `source` below it."""
    options: dict[str, t.Any] = {}
    for row in PROPERTIES.values():
        holder, _dot, key = row.option.rpartition(".")
        place = options.setdefault(holder, {"type": "dict", "options": {}})["options"] if holder else options
        place[key] = {"type": _TYPES[row.kind]}
        if row.name in _CHOICES:
            place[key]["choices"] = _CHOICES[row.name]
    return options


DEVICE_OPTIONS: dict[str, t.Any] = {
    "state": {"type": "str", "choices": [PRESENT, ABSENT], "default": PRESENT},
    **_property_options(),
    "scope": {"type": "str", "choices": ["auto", "live", "config", "both"], "default": "auto"},
    "resize": {"type": "str", "choices": ["any", "grow", "shrink", "never"], "default": "any"},
    "replace": {"type": "bool", "default": False},
    "adopt": {"type": "bool"},
}

# What a device can be found by; one of these has to be given.
IDENTITY = ("alias", "model", "node", "slot", "base")

WAIT_OPTIONS: dict[str, t.Any] = {
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 120},
    "wait_sleep": {"type": "int", "default": 1},
    "wait_tolerance": {"type": "str", "default": "0"},
    "verify": {"type": "str", "choices": list(guest.VERIFY), "default": guest.AUTO},
}

# --- options to values

# Of one domain: QEMU has 256 memory slots, and a PCI Express root 240 ports.
MOST_DEVICES = 512
_LARGEST_ID = 65535  # of a NUMA cell or a slot; libvirt's own limits are lower, and it knows them
_PRINTABLE_BITS = 256  # Python refuses to print really enormous numbers
# A domain is a file of its name; a path or URI is no longer than the kernel takes.
LONGEST_NAME, _LONGEST_TEXT = 255, 4096
_LONGEST = 365 * 24 * 3600  # seconds
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%", re.ASCII)
_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}", re.ASCII)


def _size(option: str, text: str) -> int:
    # libvirt keeps whole KiB, and rounds up (virDomainParseMemory).
    return size.align_up(size.parse(text, option), size.KIB)


def _in_all(option: str, text: str) -> int:
    """What a guest is to have in all. A power of 1000 that makes no whole MiB is hardly what was meant."""
    value, binary = _size(option, text), size.binary(text)
    if not binary or value % size.MIB == 0:
        return value
    low, high = size.align_down(value, size.MIB), size.align_up(value, size.MIB)
    raise VirtmemError(
        "not_aligned",
        f"{option}: {size.shown(text)} is a power of 1000, and not a multiple of 1MiB.",
        {"option": option, "value": value, "unit": size.MIB, "below": low, "above": high},
        f"Write {binary}, if that is meant. The nearest are {size.show(low)} and {size.show(high)}.",
    )


def _invalid(option: str, value: object, why: str, hint: str) -> VirtmemError:
    if isinstance(value, int) and value.bit_length() > _PRINTABLE_BITS:
        value = f"{'-' if value < 0 else ''}2^{value.bit_length() - 1}..."
    return VirtmemError(
        "invalid_option", f"{option}: {size.shown(value)} {why}.", {"option": option, "value": value}, hint
    )


def text_of(params: t.Mapping[str, t.Any], name: str) -> str:
    """A text that can be handed to libvirt: not empty, and without what no name or path has.

    Raises:
        VirtmemError: `invalid_option`.
    """
    return _plain(name, params[name], LONGEST_NAME if name == "domain" else _LONGEST_TEXT)


def _plain(option: str, text: str, longest: int = _LONGEST_TEXT) -> str:
    if not text:
        what = "is empty"
    # A NUL ends a string of C, a lone surrogate is no UTF-8, and a line feed has no business in a name.
    elif not text.isprintable():
        what = "has characters that can't be printed"
    elif len(text) > longest:
        what = f"is longer than {longest} characters"
    else:
        return text
    raise _invalid(option, text, what, "Write it as virsh shows it.")


def _nodemask(option: str, text: str) -> tuple[int, ...]:
    try:
        return parse_nodeset(text)
    except ValueError as error:
        raise _invalid(
            option, text, "is not a set of host NUMA nodes", "Write it as libvirt does, for example 0-1,3."
        ) from error


_NUMBERS = {
    "node": "Give the id of a NUMA cell of the guest.",
    "slot": "Give the number of a memory slot of the guest.",
    "slots": "Give the number of slots that the domain is to have.",
    "spare_ports": "Give the number of ports that are to stay free.",
    "statistics_period": "Give the number of seconds between two polls, or 0 for none.",
}


def _check_between(option: str, value: float, least: int, most: int, hint: str, unit: str = "") -> None:
    """Also refuses what is no number at all, and yes and no, which are numbers to Ansible as they are to Python."""
    if isinstance(value, bool):
        raise _invalid(option, value, "is not a number", hint)
    if not least <= value <= most:
        raise _invalid(option, value, f"is not between {least} and {most}{unit}", hint)


def _number(option: str, value: int) -> int:
    _check_between(option, value, 0, _LARGEST_ID, _NUMBERS[option])
    return value


def _check_seconds(option: str, value: float, least: int = 0) -> None:
    _check_between(option, value, least, _LONGEST, f"Give {least} or more.", " seconds")


def _address(option: str, text: str) -> int:
    if not _ADDRESS.fullmatch(text.strip()):
        raise _invalid(option, text, "is not an address", "Write it as libvirt does, for example 0x140000000.")
    return int(text, 16 if text.strip()[:2].lower() == "0x" else 10)


def _uuid(option: str, text: str) -> str:
    import uuid

    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise _invalid(
            option, text, "is not a UUID", "Write 32 hexadecimal digits, in groups of 8-4-4-4-12."
        ) from error


def _as_given(_option: str, value: t.Any) -> t.Any:
    return value


Reader = t.Callable[[str, t.Any], t.Any]
_BY_KIND: t.Mapping[str, Reader] = {
    SIZE: _size,
    NUMBER: _number,
    NODESET: _nodemask,
    ADDRESS: _address,
    TEXT: _as_given,
    YES_NO: _as_given,
    FLAG: _as_given,
}
# Texts that are not just any text, or one of a few words.
_BY_NAME: t.Mapping[str, Reader] = {
    "alias": lambda _option, text: identity.user_alias(text),
    "path": _plain,
    "uuid": _uuid,
}


def _read(params: t.Mapping[str, t.Any], option: str, reader: Reader) -> t.Any:
    """The value of an option, or of a suboption such as `source.path`; None if it is not given."""
    holder, _dot, key = option.rpartition(".")
    value = (params[holder] or {}).get(key) if holder else params[key]
    return None if value is None else reader(option, value)


def wish_from(params: t.Mapping[str, t.Any]) -> Wish:
    """The declared device.

    Raises:
        VirtmemError: an option has a value that can't be used.
    """
    properties = {
        name: _read(params, row.option, _BY_NAME.get(name, _BY_KIND[row.kind])) for name, row in PROPERTIES.items()
    }
    how = {name: params[name] for name in ("state", "scope", "resize", "replace", "adopt")}
    return Wish(**properties, **how)


def patience_from(params: t.Mapping[str, t.Any]) -> Patience:
    """How the task waits.

    Raises:
        VirtmemError: an option has a value that can't be used.
    """
    from ._apply.task import Patience

    _check_seconds("wait_timeout", params["wait_timeout"])
    _check_seconds("wait_sleep", params["wait_sleep"], 1)
    return Patience(
        wait=params["wait"],
        timeout=params["wait_timeout"],
        sleep=params["wait_sleep"],
        tolerance=size.parse_tolerance(params["wait_tolerance"]),
        verify=params["verify"],
    )


# Of a whole guest, beside its memory.
GUEST_OPTIONS: dict[str, t.Any] = {
    "resize": DEVICE_OPTIONS["resize"],
    "max_memory": {"type": "str"},
    "slots": {"type": "int"},
    "spare_ports": {"type": "int"},
    "statistics_period": {"type": "int"},
}

GUARD_OPTIONS: dict[str, t.Any] = {
    "guards": {
        "type": "dict",
        "options": {
            "max_shrink": {"type": "str"},
            "min_requested": {"type": "str"},
            "host_reserve": {"type": "str"},
        },
    },
}

LAYOUT_OPTIONS: dict[str, t.Any] = {
    "domains": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "devices": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": DEVICE_OPTIONS,
                "required_one_of": [IDENTITY],
            },
            "exclusive": {"type": "bool", "default": False},
            "memory": {"type": "str"},
            **GUEST_OPTIONS,
        },
    },
}

INFO_OPTIONS: dict[str, t.Any] = {
    "domains": {"type": "list", "elements": "str"},
    "models": {"type": "list", "elements": "str", "choices": list(MODELS)},
    "aliases": {"type": "list", "elements": "str"},
    "guest": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 10.0},
}


def order_from(params: t.Mapping[str, t.Any]) -> Order:
    """What one domain of a layout is to be.

    Raises:
        VirtmemError: an option has a value that can't be used.
    """
    from ._apply.job import Order

    count = len(params["devices"])
    if count > MOST_DEVICES:
        raise VirtmemError(
            "invalid_option",
            f"devices: {count} are declared, and a domain has at most {MOST_DEVICES}.",
            {"option": "devices", "value": count, "most": MOST_DEVICES},
            "QEMU has 256 memory slots, and a PCI Express root takes 240 ports. Declare fewer and larger devices.",
        )
    return Order(
        _plain("domains.name", params["name"], LONGEST_NAME),
        guest_from(params)._replace(
            wishes=tuple(wish_from(device) for device in params["devices"]),
            exclusive=params["exclusive"],
        ),
    )


def guest_from(params: t.Mapping[str, t.Any]) -> Declaration:
    """What is declared of a whole guest, without its devices.

    Raises:
        VirtmemError: an option has a value that can't be used.
    """
    return Declaration(
        memory=_read(params, "memory", _in_all),
        resize=params["resize"],
        max_memory=_read(params, "max_memory", _size),
        slots=_read(params, "slots", _number),
        spare_ports=_read(params, "spare_ports", _number),
        statistics_period=_read(params, "statistics_period", _number),
    )


def guards_from(params: t.Mapping[str, t.Any]) -> Guards:
    """What the task may not go beyond.

    Raises:
        VirtmemError: an option has a value that can't be used.
    """
    from ._memory.plan.guards import Guards

    given = {name: text for name, text in (params["guards"] or {}).items() if text is not None}
    return Guards(
        max_shrink=_percentage("guards.max_shrink", given["max_shrink"]) if "max_shrink" in given else None,
        **{name: _size(f"guards.{name}", text) for name, text in given.items() if name != "max_shrink"},
    )


def _percentage(option: str, text: str) -> float:
    match = _PERCENT.fullmatch(text.strip())
    value = float(match.group(1)) if match else math.inf
    if value > 100:
        raise _invalid(option, text, "is not a percentage", "Write it as 50%, from 0% to 100%.")
    return value


def selection_from(params: t.Mapping[str, t.Any]) -> Selection:
    """The devices that are asked about.

    Raises:
        VirtmemError: an alias that no device can have.
    """
    from ._memory.inventory.results import Selection

    _check_seconds("timeout", params["timeout"])
    for name in params["domains"] or ():
        _plain("domains", name, LONGEST_NAME)
    aliases = params["aliases"]
    return Selection(
        models=params["models"],
        aliases=None if aliases is None else {identity.user_alias(alias) for alias in aliases},
    )
