# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Declarations before any hypervisor is asked: what is wrong, in a line each, and what they can be made from."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.virtmem.libvirt.plugins.filter import sizing_check, sizing_domains, sizing_export
from ansible_collections.virtmem.libvirt.plugins.plugin_utils import _declaration

SCHEMA = Path(_declaration.__file__).parents[2] / "extensions" / "schemas" / "sizing_domains.json"


def device(**options: t.Any) -> list[dict[str, t.Any]]:
    """A domain with one device."""
    return [{"name": "web1", "devices": [{"alias": "ua-vm0", **options}]}]


@pytest.mark.parametrize(
    "domains",
    [
        [],
        [{"name": "web1", "memory": "6GiB"}, {"name": "db1", "memory": "96GiB", "max_memory": "256GiB"}],
        [{"name": "web1", "memory": "6GiB", "resize": "grow", "slots": "8", "exclusive": "yes"}],
        device(model="virtio-mem", size="4GiB", requested="0", source={"pagesize": "2MiB"}),
    ],
)
def test_a_declaration_that_can_be_read(domains: t.Any) -> None:
    assert _declaration.complaints(domains) == []


@pytest.mark.parametrize(
    ("domains", "told"),
    [
        (device(request="1GiB"), "web1, ua-vm0: no option 'request'. Did you mean requested?"),
        ([{"name": "web1", "memory_mb": "1GiB"}], "web1: no option 'memory_mb'. Did you mean memory?"),
        ([{"names": "web1"}], "number 1: no option 'names'. Did you mean name?"),
        (device(source={"paths": "/x"}), "web1, ua-vm0, source: no option 'paths'. Did you mean path?"),
        (device(source="/x"), "web1, ua-vm0, source: '/x' is no dictionary of options."),
        ([{"name": "web1", "devices": {}}], "web1: devices is no list."),
        ([{"name": "web1", "devices": ["ua-vm0"]}], "web1, number 1: 'ua-vm0' is no dictionary of options."),
        (["web1"], "number 1: 'web1' is no dictionary of options."),
        ({"web1": "6GiB"}, "sizing_domains: {'web1': '6GiB'} is no list of domains."),
        ([{"memory": "6GiB"}], "number 1: missing required arguments: name"),
        (
            [{"name": "web1", "memory": "6GiB", "resize": "up"}],
            "web1: value of resize must be one of: any, grow, shrink",
        ),
        ([{"name": "web1", "memory": 6}], "web1: memory: '6' has no unit. Write the unit, for example 6GiB"),
        ([{"name": "web1", "memory": "6Gi"}], "Write 6GiB."),
        ([{"name": "web1", "memory": "2GB"}], "Write 2GiB, if that is meant."),
        ([{"name": "web1", "devices": [{"size": "1GiB"}]}], "web1: one of the following is required: alias, model"),
    ],
)
def test_what_is_wrong_is_one_line(domains: t.Any, told: str) -> None:
    [line] = _declaration.complaints(domains)
    assert told in line
    assert "\n" not in line
    assert len(line) < 300


def test_what_is_like_nothing_is_told_with_what_there_is() -> None:
    [line] = _declaration.complaints([{"name": "web1", "zzz": 1}])
    assert line.startswith("web1: no option 'zzz'. There are devices, exclusive, max_memory, memory, name")


def test_a_misspelt_variable_is_wrong_too() -> None:
    known = ["sizing_domains", "sizing_max_shrink", "sizing_uri"]
    found = _declaration.complaints([], ["sizing_max_shrnik", "sizing_uri", "other"], known)
    assert found == ["no variable 'sizing_max_shrnik'. Did you mean sizing_max_shrink?"]


# --- from what people have


@pytest.mark.parametrize(
    ("items", "how", "made"),
    [
        ([{"name": "web1", "memory_mb": 6144}], {}, [{"name": "web1", "memory": "6GiB"}]),
        ([{"name": "web1", "memory_mb": "1000"}], {}, [{"name": "web1", "memory": "1000MiB"}]),
        (
            [{"vm": "web1", "ram": 6, "most": "64GiB"}, {"vm": "web2", "ram": 2}],
            {"name": "vm", "memory": "ram", "max_memory": "most", "unit": "GiB"},
            [{"name": "web1", "memory": "6GiB", "max_memory": "64GiB"}, {"name": "web2", "memory": "2GiB"}],
        ),
        (
            [{"name": "a", "memory_mb": 1, "floor": "grow"}],
            {"resize": "floor"},
            [{"name": "a", "memory": "1MiB", "resize": "grow"}],
        ),
    ],
)
def test_a_declaration_from_what_people_have(items: t.Any, how: dict[str, str], made: t.Any) -> None:
    found = _declaration.domains_from(items, **how)
    assert found == made
    assert _declaration.complaints(found) == []


@pytest.mark.parametrize(
    ("items", "how", "told"),
    [
        ([{"name": "web1", "memory": 6144}], {}, "web1: there is no 'memory_mb'. Did you mean memory?"),
        ([{"name": "web1", "memory_mb": "lots"}], {}, "memory: 'lots' is not a size."),
        ([], {"unit": "pages"}, "unit: pages is none"),
        ([], {"memori": "x"}, "no option 'memori' of a domain. Did you mean memory?"),
    ],
)
def test_what_can_not_be_made_is_said(items: t.Any, how: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        _declaration.domains_from(items, **how)


def test_a_declaration_of_what_is_there() -> None:
    def known(name: str, effective: int, at_boot: int | None, problem: t.Any = None) -> dict[str, t.Any]:
        memory = None if problem else {"effective": effective, "at_boot": at_boot}
        return {"name": name, "memory": memory, "problem": problem}

    domains = [known("a", 6 * 2**30, 6 * 2**30), known("b", 2**30, 2**31), known("c", 0, 0, {"msg": "No."})]
    found = _declaration.domains_of({"domains": [*domains, known("d", 2**29, None)]})
    assert found == [{"name": "a", "memory": "6GiB"}, {"name": "d", "memory": "512MiB"}]
    assert _declaration.complaints(found) == []


# --- for editors


def test_the_schema_is_that_of_the_options() -> None:
    """To write it anew: the left side as JSON, with an indentation of 2."""
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == _declaration.schema()


def test_the_filters_have_their_names() -> None:
    assert sizing_check.FilterModule().filters() == {"sizing_check": _declaration.complaints}
    assert sizing_export.FilterModule().filters() == {"sizing_export": _declaration.domains_of}
    assert sizing_domains.FilterModule().filters() == {"sizing_domains": _declaration.domains_from}
