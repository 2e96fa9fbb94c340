# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The variables of the role `sizing`, looked at before any hypervisor is asked, and made from what people have already.

Pure functions, for filters. They run on the controller. The engine is imported when it is needed only: to find one
filter, Ansible imports all of a collection, in every task anew.
"""

from __future__ import annotations

import typing as t

from ..module_utils._memory.errors import VirtmemError, did_you_mean
from ..module_utils._memory.size import MIB, UNITS, parse, show

Spec = t.Mapping[str, t.Any]


def _domain() -> Spec:
    """The options of a domain."""
    from ..module_utils._options import LAYOUT_OPTIONS

    found: Spec = LAYOUT_OPTIONS["domains"]["options"]
    return found


def nearest(name: str, names: t.Iterable[str]) -> str:
    """A question that proposes what was probably meant, or else all that there is."""
    names = sorted(names)
    question = did_you_mean(str(name), names, most=1)
    return f". {question}" if question else f". There are {', '.join(names)}."


def _unknown(where: str, given: t.Any, spec: Spec) -> t.Iterator[str]:
    """The options that are not there, at every depth, and what should be a dictionary and is none."""
    if not isinstance(given, t.Mapping):
        yield f"{where}: {given!r} is no dictionary of options."
        return
    for key, value in given.items():
        if key not in spec:
            yield f"{where}: no option '{key}'{nearest(key, spec)}"
        elif "options" in spec[key] and value is not None:
            yield from _below(where, key, value, spec[key])


def _below(where: str, key: str, value: t.Any, spec: Spec) -> t.Iterator[str]:
    if spec["type"] == "dict":
        yield from _unknown(f"{where}, {key}", value, spec["options"])
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _unknown(f"{where}, {_name_of(item, number)}", item, spec["options"])
    else:
        yield f"{where}: {key} is no list."


def _name_of(item: t.Any, number: int) -> str:
    """What a message calls an item of a list."""
    named = item if isinstance(item, t.Mapping) else {}
    return str(named.get("name") or named.get("alias") or f"number {number + 1}")


def _complaints(domain: t.Any, number: int) -> t.Iterator[str]:
    """What is wrong with one domain, in lines."""
    from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

    from ..module_utils._options import order_from

    where = _name_of(domain, number)
    found = list(_unknown(where, domain, _domain()))
    if found:
        yield from found
        return
    checked = ArgumentSpecValidator(dict(_domain())).validate(dict(domain))
    if checked.error_messages:
        yield from (f"{where}: {text}" for text in checked.error_messages)
        return
    try:
        order_from(checked.validated_parameters)
    except VirtmemError as error:
        yield f"{where}: {error.msg} {error.hint}"


def complaints(domains: t.Any, variables: t.Iterable[str] = (), known: t.Iterable[str] = ()) -> list[str]:
    """What is wrong with a declaration, a line for each; none if it can be handed to memory_layout.

    Args:
        domains: the declaration.
        variables: the names of the variables of the host.
        known: those that the role has.
    """
    names = sorted(name for name in known if name)
    found = [
        f"no variable '{name}'{nearest(name, names)}"
        for name in sorted(variables)
        if name.startswith("sizing_") and name not in names
    ]
    if not isinstance(domains, (list, tuple)):
        return [*found, f"sizing_domains: {domains!r} is no list of domains."]
    for number, domain in enumerate(domains):
        found += _complaints(domain, number)
    return found


# --- from what people have


def domains_from(items: t.Iterable[t.Mapping[str, t.Any]], unit: str = "MiB", **keys: str) -> list[dict[str, t.Any]]:
    """A declaration from a list of dictionaries, one for each guest.

    Args:
        items: the guests, as an inventory or a database has them.
        unit: of the numbers that have none.
        keys: which key of an item has what option of a domain, such as `memory="memory_mb"`.

    Raises:
        ValueError: a key is missing, or a value is no quantity.
    """
    if unit.lower() not in UNITS:
        raise ValueError(f"unit: {unit} is none; use MiB or GiB.")
    chosen = {"name": "name", "memory": "memory_mb", **keys}
    unknown = next((option for option in chosen if option not in _domain()), None)
    if unknown:
        raise ValueError(f"no option '{unknown}' of a domain{nearest(unknown, _domain())}")
    return [_domain_from(item, unit, chosen) for item in items]


def _domain_from(item: t.Mapping[str, t.Any], unit: str, keys: t.Mapping[str, str]) -> dict[str, t.Any]:
    domain: dict[str, t.Any] = {}
    for option, key in keys.items():
        if key not in item:
            if option in ("name", "memory"):
                raise ValueError(f"{_name_of(item, 0)}: there is no '{key}'{nearest(key, item)}")
            continue
        value = item[key]
        domain[option] = _quantity(option, value, unit) if option in ("memory", "max_memory") else value
    return domain


def _quantity(option: str, value: t.Any, unit: str) -> str:
    """A quantity with its unit; a bare number is so many of the given one."""
    text = str(value).strip()
    try:
        size = parse(f"{text}{unit}" if text.isascii() and text.isdigit() else text, option)
    except VirtmemError as error:
        raise ValueError(f"{error.msg} {error.hint}") from error
    return show(size) if size % MIB == 0 else text


def domains_of(inventory: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """A declaration of what the guests of a host have: a task with it changes nothing.

    Args:
        inventory: a result of memory_device_info. A domain that could not be read is left out, and so is one whose
            running guest and next start differ: which of the two is meant is for people to say.
    """
    found = [item for item in inventory.get("domains") or () if item["problem"] is None and item["memory"]]
    agreed = [item for item in found if item["memory"]["at_boot"] in (None, item["memory"]["effective"])]
    return [{"name": item["name"], "memory": show(item["memory"]["effective"])} for item in agreed]


# --- for editors

_JSON = {"str": "string", "int": "integer", "bool": "boolean"}


def schema() -> dict[str, t.Any]:
    """The variable `sizing_domains` as a JSON schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "sizing_domains: the memory of a hypervisor's guests",
        "type": "array",
        "items": _object(_domain()),
    }


def _object(spec: Spec) -> dict[str, t.Any]:
    required = [name for name, option in spec.items() if option.get("required")]
    return {
        "type": "object",
        "additionalProperties": False,
        **({"required": required} if required else {}),
        "properties": {name: _property(option) for name, option in spec.items()},
    }


def _property(option: Spec) -> dict[str, t.Any]:
    kind = option.get("type", "str")
    if kind == "list":
        return {"type": "array", "items": _object(option["options"])}
    if kind == "dict":
        return _object(option["options"])
    return {"type": _JSON[kind], **({"enum": option["choices"]} if "choices" in option else {})}
