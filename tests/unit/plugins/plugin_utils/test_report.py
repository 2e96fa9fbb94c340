# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A survey as a page and as metrics: every number of it is on them, and nothing that was not read."""

from __future__ import annotations

import re
import typing as t
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Domain, Statistics
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.inventory import sums
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.inventory.drift import DRIFTS
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.inventory.results import Selection
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, MIB, about
from ansible_collections.virtmem.libvirt.plugins.plugin_utils import _fleet, _metrics, _page
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers

Dict = dict[str, t.Any]
ROLE = Path(_page.__file__).parents[2] / "roles" / "report"
NOW = 1795754559.5


def guest(name: str = "web1", *, requested: int = 1, current: int | None = None, **values: t.Any) -> Dict:
    """A running guest of 1 GiB and a device of 4, as memory_device_info tells of it; sizes in GiB."""
    stored = helpers.virtio_mem(requested=values.pop("config", requested) * GIB)
    live = helpers.virtio_mem(requested=requested * GIB, current=(requested if current is None else current) * GIB)
    scopes = {
        "live": helpers.definition(live, active=True, balloon=True),
        "config": helpers.definition(stored, balloon=True),
    }
    return described(helpers.domain(**scopes, name=name, **values))


def off(name: str = "db1") -> Dict:
    """A stopped one."""
    return described(helpers.domain(config=helpers.definition(helpers.virtio_mem(requested=2 * GIB)), name=name))


def described(domain: Domain) -> Dict:
    """A domain of a survey."""
    return sums.describe(domain, Selection(), helpers.TRIXIE)


def survey(*domains: Dict, available: int = 32, **more: t.Any) -> Dict:
    """What the role knows of a hypervisor of 64 GiB."""
    memory = {"total": 64 * GIB, "available": available * GIB, "nodes": [], "pools": []}
    hypervisor = sums.hypervisor(helpers.TRIXIE, memory)
    info = {"hypervisor": hypervisor, "domains": list(domains), "summary": sums.summary(domains), "duration": 0.25}
    return {"host": "hv1", "uri": "qemu:///system", "info": info, "reserve": "", **more}


def fleet(*surveys: Dict | str) -> list[_fleet.Host]:
    """All hypervisors; of one that was not reached, its name."""
    lost: Dict = {"uri": "", "reserve": "", "info": None}
    return _fleet.hosts_of({"host": item, **lost} if isinstance(item, str) else item for item in surveys)


def faults(*surveys: Dict | str) -> list[tuple[str, str | None]]:
    """What is wrong."""
    return [(fault.kind, fault.domain) for host in fleet(*surveys) for fault in host.faults]


# --- what is wrong


def test_nothing_is_wrong_with_guests_that_have_what_is_requested() -> None:
    assert faults(survey(guest(), off())) == []


def test_a_hypervisor_that_was_not_reached_is_wrong() -> None:
    failed = {"host": "hv3", "uri": "qemu:///system", "info": {"msg": "No socket.", "hypervisor": None}}
    assert faults("hv2", failed) == [("unreachable", None), ("unreachable", None)]
    [_lost, host] = fleet("hv2", failed)
    assert host.faults[0].text == "No socket."


def test_every_drift_is_wrong_and_what_waits_for_a_restart() -> None:
    assert faults(survey(guest(requested=2, current=1))) == [("not_converged", "web1")]
    assert faults(survey(guest(requested=2, config=1))) == [("property", "web1"), ("staged", "web1")]


def test_a_domain_that_could_not_be_read_is_wrong() -> None:
    bad = sums.unreadable("web9", "u", "running", True, VirtmemError("domain_busy", "Busy.", {}, ""))
    assert faults(survey(bad, guest())) == [("unreadable", "web9")]


@pytest.mark.parametrize(
    ("available", "reserve", "wrong"), [(7, "", False), (6, "", True), (6, "4GiB", False), (12, "16GiB", True)]
)
def test_a_host_without_room_is_wrong(available: int, reserve: str, wrong: bool) -> None:
    assert faults(survey(available=available, reserve=reserve)) == ([("room", None)] if wrong else [])


@pytest.mark.parametrize(("usable", "wrong"), [(1024, False), (100, True)])
def test_a_guest_without_memory_left_is_wrong(usable: int, wrong: bool) -> None:
    said = Statistics(total=1900 * MIB, usable=usable * MIB, balloon=2 * GIB, updated=1, minor_faults=1, age=1.0)
    assert (("pressure", "web1") in faults(survey(guest(guest=said)))) is wrong


def test_what_is_wrong_is_listed_as_the_page_has_it() -> None:
    listed = _page.faults(fleet(survey(guest(requested=2, current=1), guest("web2", requested=2, config=1)), "hv9"))
    kinds = [(fault["kind"], fault["host"], fault["domain"]) for fault in listed]
    assert kinds[:2] == [("unreachable", "hv9", None), ("not_converged", "hv1", "web1")]
    assert listed[0]["message"] == "hv9: It was not reached."
    assert listed[1]["message"] == f"hv1 web1: {listed[1]['text']}"
    text = page(survey(guest(requested=2, current=1), guest("web2", requested=2, config=1)), "hv9")
    assert [text.index(fault["text"][:20]) for fault in listed] == sorted(text.index(f["text"][:20]) for f in listed)


def test_every_fault_has_a_name() -> None:
    assert {*DRIFTS, "unreachable", "unreadable", "room", "pressure", "staged"} == set(_page.FAULTS)


# --- the page


class Page(HTMLParser):
    """The tables of a page as lists of rows, and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.exact: list[int] = []
        self.fetches: list[str] = []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begins a table, a row, a cell."""
        given = dict(attrs)
        self.fetches += [str(given[name]) for name in ("src", "href") if name in given]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in_cell = True
            if given.get("title", "") and str(given["title"]).endswith(" bytes"):
                self.exact.append(int(str(given["data-n"])))

    def handle_endtag(self, tag: str) -> None:
        """Ends a cell."""
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        """The text of a cell."""
        if self._in_cell:
            self.tables[-1][-1][-1] += data


def page(*surveys: Dict | str) -> str:
    """The page as the role makes it."""
    return _page.page(fleet(*surveys), "Memory <of> guests", "2026-11-27")


def test_the_page_has_every_number_of_the_survey() -> None:
    read = Page(page(survey(guest(requested=3, current=2), off())))
    wrong, guests = read.tables
    assert [row[:3] for row in wrong[1:]] == [["Short of memory", "hv1", "web1"]]
    sizes = [about(size) for size in (4 * GIB, GIB, 3 * GIB, 2 * GIB, 5 * GIB)]
    assert guests[1] == ["web1", "running", "", *sizes, "-", "1"]
    assert guests[2] == [
        "db1",
        "shutoff",
        "",
        about(3 * GIB),
        about(GIB),
        about(2 * GIB),
        "-",
        about(5 * GIB),
        "-",
        "-",
    ]
    assert read.exact[:5] == [4 * GIB, GIB, 3 * GIB, 2 * GIB, 5 * GIB]


def test_the_page_needs_nothing_else() -> None:
    text = page(survey(guest()), "hv2")
    assert Page(text).fetches == []
    assert "http" not in text
    assert "@import" not in text


def test_names_are_text_and_never_part_of_the_page() -> None:
    text = page(survey(guest(name="<script>x</script>")))
    assert "<script>x" not in text
    assert "Memory &lt;of&gt; guests" in text


def test_a_thousand_guests_are_less_than_a_megabyte() -> None:
    assert len(page(survey(*(guest(f"web{number}", requested=2, config=1) for number in range(1000)))).encode()) < 10**6


def test_nothing_wrong_is_said() -> None:
    assert "Nothing is wrong" in page(survey(guest()))


# --- the metrics


def samples(*surveys: Dict | str) -> dict[str, dict[str, float]]:
    """Each metric with its series, by their labels as they are written."""
    found: dict[str, dict[str, float]] = {}
    for line in _metrics.metrics(fleet(*surveys), NOW).splitlines():
        if not line.startswith("#"):
            name, labels, value = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line).groups()  # type: ignore[union-attr]
            assert labels not in found.setdefault(name, {}), "two of the same"
            found[name][labels] = float(value)
    return found


def test_the_metrics_are_those_of_the_survey() -> None:
    found = samples(survey(guest(requested=3, current=2), reserve="8GiB"))
    host, domain = 'host="hv1",uri="qemu:///system"', f'host="hv1",domain="web1",uuid="{helpers.UUID}"'
    device = f'{domain},alias="ua-vm0",model="virtio-mem"'
    assert set(found) <= set(_metrics.METRICS)
    assert found["virtmem_survey_success"] == {host: 1}
    assert found["virtmem_survey_timestamp_seconds"] == {host: NOW}
    assert found["virtmem_host_available_bytes"] == {host: 32 * GIB}
    assert found["virtmem_host_reserve_bytes"] == {host: 8 * GIB}
    assert found["virtmem_drift"] == {f'{host},kind="{kind}"': float(kind == "not_converged") for kind in DRIFTS}
    assert found["virtmem_domain_boot_bytes"] == {domain: GIB}
    assert found["virtmem_domain_memory_bytes"] == {domain: 4 * GIB}
    assert found["virtmem_device_size_bytes"] == {device: 4 * GIB}
    assert found["virtmem_device_requested_bytes"] == {device: 3 * GIB}
    assert found["virtmem_device_current_bytes"] == {device: 2 * GIB}
    assert found["virtmem_device_shortfall_bytes"] == {device: GIB}


def test_what_was_not_read_has_no_series() -> None:
    bad = sums.unreadable("web9", "u", "running", True, VirtmemError("domain_busy", "Busy.", {}, ""))
    found = samples(survey(bad), "hv2")
    assert found["virtmem_survey_success"] == {'host="hv1",uri="qemu:///system"': 1, 'host="hv2",uri=""': 0}
    assert found["virtmem_host_unreadable_domains"] == {'host="hv1",uri="qemu:///system"': 1}
    assert not [name for name in found if name.startswith(("virtmem_domain", "virtmem_device"))]


def test_a_stopped_guest_has_nothing_now() -> None:
    found = samples(survey(off()))
    assert list(found["virtmem_domain_running"].values()) == [0]
    assert "virtmem_device_current_bytes" not in found


def test_labels_are_escaped() -> None:
    assert 'domain="a\\"b\\\\c"' in _metrics.metrics(fleet(survey(guest(name='a"b\\c'))), NOW)


# --- the role


def test_the_defaults_of_the_role_are_documented() -> None:
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    options = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert {name: option["default"] for name, option in options.items() if not option.get("required")} == defaults
