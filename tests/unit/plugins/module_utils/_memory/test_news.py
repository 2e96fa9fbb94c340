# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is new about a domain since it was last looked at."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Domain
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.inventory import news
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.inventory.drift import DRIFTS
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers

URI = "qemu:///system"


def guest(*, requested: int = 1, current: int | None = None, config: int | None = None, **values: t.Any) -> Domain:
    """A running guest with a device, in GiB; its configuration has what is requested unless told otherwise."""
    live = helpers.virtio_mem(requested=requested * GIB, current=(requested if current is None else current) * GIB)
    stored = helpers.virtio_mem(requested=(requested if config is None else config) * GIB)
    return helpers.domain(live=helpers.definition(live, active=True), config=helpers.definition(stored), **values)


def off(requested: int = 1) -> Domain:
    """The same domain, stopped."""
    return helpers.domain(config=helpers.definition(helpers.virtio_mem(requested=requested * GIB)))


def watching(patience: float = 60) -> news.News:
    """Of a hypervisor that was reached, and of which nothing else is known."""
    found = news.News(URI, patience)
    found.versions = helpers.TRIXIE
    return found


class Watched:
    """A hypervisor's news, of which only the kinds are of interest."""

    def __init__(self, *seen: Domain, patience: float = 60) -> None:
        self.news = watching(patience)
        self.now = 0.0
        for domain in seen:
            self.news.look(domain, self.now, begins=True)

    def events(self, domain: Domain, *happened: str, after: float = 1.0) -> list[dict[str, t.Any]]:
        """What is told of the domain, so many seconds later."""
        self.now += after
        return self.news.look(domain, self.now, happened)

    def kinds(self, domain: Domain, *happened: str, after: float = 1.0) -> list[str]:
        """The kinds of it."""
        return [event["kind"] for event in self.events(domain, *happened, after=after)]


def test_nothing_is_new_about_what_is_as_it_was() -> None:
    watched = Watched(guest())
    assert [watched.kinds(guest()) for _look in range(3)] == [[], [], []]


def test_what_runs_at_the_first_look_was_not_just_started() -> None:
    assert watching().look(guest(), 0, begins=True) == []


def test_every_event_has_every_key_and_a_known_kind() -> None:
    watched = Watched(guest())
    told = [
        *watched.events(guest(requested=2, current=1)),
        *watched.events(guest(requested=2, current=1, config=1), after=61),
        *watched.events(off(), after=1),
        watched.news.of_connection(news.CONNECTED, "here"),
        *watched.events(guest(), "started"),
        *watched.news.refused(helpers.UUID, "ua-vm0"),
        *watched.news.gone(helpers.UUID),
    ]
    assert all(tuple(event) == news.KEYS for event in told)
    assert {event["kind"] for event in told} <= set(news.KINDS)
    assert {event["uri"] for event in told} == {URI}


def test_a_request_is_told_with_what_was_there_before() -> None:
    [event] = Watched(guest()).events(guest(requested=2, current=1))
    assert event["kind"] == "size_changed"
    assert (event["requested_before"], event["requested"]) == (GIB, 2 * GIB)
    assert (event["current_before"], event["current"], event["size"]) == (GIB, GIB, 4 * GIB)
    assert (event["domain"], event["alias"], event["model"]) == ("web1", "ua-vm0", "virtio-mem")


def test_a_guest_that_follows_has_delivered_once() -> None:
    watched = Watched(guest())
    assert watched.kinds(guest(requested=3, current=1)) == ["size_changed"]
    assert watched.kinds(guest(requested=3, current=2)) == ["size_changed"]
    assert watched.kinds(guest(requested=3)) == ["size_changed", "delivered"]
    assert watched.kinds(guest(requested=3)) == []


def test_what_was_delivered_between_two_looks_is_told_too() -> None:
    assert Watched(guest()).kinds(guest(requested=3)) == ["size_changed", "delivered"]


def test_a_guest_that_stands_still_is_told_when_its_time_is_over_and_once() -> None:
    watched, still = Watched(guest(), patience=10), guest(requested=3, current=2)
    watched.events(still)
    assert watched.kinds(still, after=9) == []
    assert watched.kinds(still, after=2) == ["not_converged"]
    assert watched.kinds(still, after=60) == []
    assert watched.kinds(guest(requested=3)) == ["size_changed", "delivered"]


def test_a_guest_that_moves_has_time_again() -> None:
    watched = Watched(guest(), patience=10)
    for current in (1, 2):
        watched.events(guest(requested=3, current=current))
        assert watched.kinds(guest(requested=3, current=current), after=9) == []


@pytest.mark.parametrize(
    ("was", "happened", "now", "kinds"),
    [
        (True, (), False, ["stopped"]),
        (True, ("stopped",), False, ["stopped"]),
        (False, ("stopped",), False, []),
        (False, (), True, ["started"]),
        (False, ("started",), True, ["started"]),
        (True, ("started",), True, []),
        (True, ("stopped", "started"), True, ["stopped", "started"]),
        (False, ("started", "stopped"), False, []),
        (False, ("migrated",), True, ["migrated"]),
        (True, ("migrated",), False, ["migrated"]),
    ],
)
def test_a_start_and_a_stop_are_told_once_whoever_shows_them(
    was: bool, happened: tuple[str, ...], now: bool, kinds: list[str]
) -> None:
    watched = Watched(guest() if was else off())
    domain = guest() if now else off()
    assert watched.kinds(domain, *happened) == kinds
    assert watched.kinds(domain) == []


def test_a_domain_that_appears_was_started() -> None:
    assert Watched().kinds(guest()) == ["started"]
    assert Watched().kinds(off()) == []


def test_a_domain_that_is_gone_has_stopped() -> None:
    watched = Watched(guest())
    assert [event["kind"] for event in watched.news.gone(helpers.UUID)] == ["stopped"]
    assert watched.news.gone(helpers.UUID) == []
    assert watched.news.domains() == set()


def test_a_domain_that_went_elsewhere_has_migrated() -> None:
    [event] = Watched(guest()).news.gone(helpers.UUID, ["migrated"])
    assert (event["kind"], event["domain"]) == ("migrated", "web1")


def with_devices(*aliases: str) -> Domain:
    """A running guest with these DIMMs, in both scopes."""
    devices = [helpers.dimm(alias=alias) for alias in aliases]
    return helpers.domain(live=helpers.definition(*devices, active=True), config=helpers.definition(*devices))


def test_devices_that_come_and_go_are_told() -> None:
    watched = Watched(with_devices("ua-a", "ua-b"))
    told = watched.events(with_devices("ua-b", "ua-c"))
    assert [(event["kind"], event["alias"]) for event in told] == [("device_added", "ua-c"), ("device_removed", "ua-a")]


def test_a_refusal_names_the_device() -> None:
    watched = Watched(guest())
    [event] = watched.news.refused(helpers.UUID, "ua-vm0")
    assert (event["kind"], event["alias"], event["size"]) == ("unplug_refused", "ua-vm0", 4 * GIB)
    assert watched.news.refused("another", "ua-vm0") == []


# --- drift


def test_a_drift_is_told_when_it_has_settled_and_once() -> None:
    watched, differs = Watched(guest()), guest(requested=2, config=1)
    assert watched.kinds(differs) == ["size_changed", "delivered"]
    assert watched.news.unsettled() == [helpers.UUID]
    assert watched.kinds(differs, after=0.1) == []
    [event] = watched.events(differs, after=0.3)
    assert (event["kind"], event["drift"], event["alias"]) == ("drift", "property", "ua-vm0")
    assert (event["live"], event["config"]) == ({"requested": 2 * GIB}, {"requested": GIB})
    assert "2GiB in the running guest" in event["message"]
    assert watched.news.unsettled() == []
    assert watched.kinds(differs) == []


def test_a_task_that_changes_both_scopes_one_after_the_other_makes_no_drift() -> None:
    watched = Watched(guest())
    watched.events(guest(requested=2, config=1))
    assert watched.kinds(guest(requested=2), after=0.1) == []
    assert watched.news.unsettled() == []


def test_a_drift_that_comes_back_is_told_again() -> None:
    watched, differs = Watched(guest(requested=2)), guest(requested=2, config=1)
    assert [watched.kinds(differs), watched.kinds(differs)] == [[], ["drift"]]
    watched.events(guest(requested=2))
    assert [watched.kinds(differs), watched.kinds(differs)] == [[], ["drift"]]


def test_what_differs_at_the_first_look_is_told_too() -> None:
    watched = Watched(guest(requested=2, config=1))
    assert watched.kinds(guest(requested=2, config=1)) == ["drift"]


def test_sums_that_move_a_little_are_one_drift() -> None:
    def crooked(total: int) -> Domain:
        live = helpers.definition(helpers.dimm(alias="ua-a"), active=True)
        wrong = live._replace(cell_sizes=(GIB,), total=total * GIB)
        return helpers.domain(live=wrong, config=live)

    watched = Watched(crooked(5))
    [event] = watched.events(crooked(5))
    assert (event["drift"], event["alias"]) == ("accounting", None)
    assert watched.kinds(crooked(6)) == []


# --- the contract


def test_the_schema_has_every_key_every_kind_and_every_drift() -> None:
    folder = Path(news.__file__).parents[4] / "extensions" / "eda"
    event = json.loads((folder / "schemas" / "memory.json").read_text())["properties"]["memory"]
    assert tuple(event["properties"]) == tuple(event["required"]) == news.KEYS
    assert event["properties"]["kind"]["enum"] == list(news.KINDS)
    guide = (folder.parents[1] / "docs" / "docsite" / "rst" / "reference_events.rst").read_text()
    assert all(f"   * - ``{kind}``\n     - {text.rstrip('.')}" in guide for kind, text in news.KINDS.items())
    # Told as an event of its own, once the guest has had its time.
    assert {*event["properties"]["drift"]["enum"], "not_converged"} == {*DRIFTS, None}
