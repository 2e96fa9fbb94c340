# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which domains are meant, and one pass over them: what is stuck or gone does not hold up or hide the rest."""

from __future__ import annotations

import threading
import typing as t

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils import _survey
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt.connection import Listed, Reading
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError

if t.TYPE_CHECKING:
    from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt.connection import Hypervisor

# How long a test may hang before it fails, in seconds. Nothing here depends on it being short.
PATIENCE = 30.0


def listed(*names: str) -> list[Listed]:
    """Domains of these names, whose UUIDs end with their number."""
    return [
        Listed(name, f"0b4fd5c6-2a36-4c1e-9d5a-{number:012x}", "running", True, True, False, None)
        for number, name in enumerate(names)
    ]


def reading(item: Listed) -> Reading:
    """What is read of a listed domain."""
    return Reading(item.name, item.uuid, item.state, item.persistent, False, "<domain/>", None)


class Fake:
    """A hypervisor some of whose domains don't answer until they are let go."""

    def __init__(
        self, stuck: t.Collection[str] = (), gone: t.Collection[str] = (), broken: t.Collection[str] = ()
    ) -> None:
        self.stuck, self.gone, self.broken = set(stuck), set(gone), set(broken)
        self.let_go = threading.Event()
        self.lock = threading.Lock()
        self.under_way = 0
        self.most = 0
        self.asked: list[str] = []
        self.unsent: set[str] = set()  # whose call lies in the client until another one comes
        self.woken = threading.Event()

    def wake_calls(self) -> None:
        """Another call has come."""
        self.woken.set()

    def read_listed(self, item: Listed, _guest: bool) -> Reading | None:
        """Answers, hangs, knows nothing of it, or fails."""
        with self.lock:
            self.asked.append(item.name)
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        if item.name in self.stuck:
            self.let_go.wait(PATIENCE)
        if item.name in self.unsent:
            self.woken.wait(PATIENCE)
        with self.lock:
            self.under_way -= 1
        if item.name in self.broken:
            raise VirtmemError("libvirt_error", f"{item.name} is broken.")
        return None if item.name in self.gone else reading(item)


def survey(fake: Fake, items: t.Sequence[Listed], timeout: float = 0.6) -> list[tuple[str, t.Any]]:
    """All answers, by name; who was stuck is let go afterwards."""
    try:
        answers = list(_survey.read_all(t.cast("Hypervisor", fake), items, timeout))
    finally:
        fake.let_go.set()
    return [(item.name, answer) for item, answer in answers]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second is long for a test."""
    monkeypatch.setattr(_survey, "_STUCK_AFTER", 0.05)


# --- which


ALL = listed("db1", "web1", "web2", "web[x]")


def names(wanted: t.Sequence[str] | None) -> list[str]:
    """Who is chosen of them all."""
    return [item.name for item in _survey.choose(ALL, wanted, "test:///default")]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, ["db1", "web1", "web2", "web[x]"]),
        ([], []),
        (["web1"], ["web1"]),
        (["web2", "db1"], ["db1", "web2"]),  # in the order of the list, not of the wish
        (["web1", "web1", "web*"], ["web1", "web2", "web[x]"]),
        (["web?"], ["web1", "web2"]),
        (["[dw]*1"], ["db1", "web1"]),
        (["WEB*"], []),  # names are case-sensitive
        (["nobody*"], []),
        (["web[x]"], ["web[x]"]),  # a name first, then a pattern
        ([ALL[1].uuid], ["web1"]),
        ([ALL[1].uuid.upper().replace("-", "")], ["web1"]),
    ],
)
def test_domains_are_chosen_by_names_patterns_and_uuids(wanted: list[str] | None, expected: list[str]) -> None:
    assert names(wanted) == expected


@pytest.mark.parametrize("wanted", ["nobody", "0b4fd5c6-2a36-4c1e-9d5a-ffffffffffff", "", "web"])
def test_a_name_that_does_not_exist_is_an_error(wanted: str) -> None:
    with pytest.raises(VirtmemError) as caught:
        names(["web*", wanted])
    assert caught.value.error_code == "domain_not_found"
    assert caught.value.details == {"option": "domains", "value": wanted, "uri": "test:///default"}


# --- how


def test_every_domain_is_read_once_and_told_in_order() -> None:
    items = listed(*(f"d{number:03}" for number in range(200)))
    fake = Fake()
    assert survey(fake, items) == [(item.name, reading(item)) for item in items]
    assert sorted(fake.asked) == [item.name for item in items]


def test_nothing_is_no_trouble() -> None:
    assert survey(Fake(), []) == []


def test_one_that_is_gone_or_broken_does_not_hide_the_others() -> None:
    items = listed("a", "b", "c", "d")
    answers = dict(survey(Fake(gone=["b"], broken=["c"]), items))
    assert answers["a"] == reading(items[0])
    assert answers["b"] is None
    assert isinstance(answers["c"], VirtmemError)
    assert answers["c"].error_code == "libvirt_error"
    assert answers["d"] == reading(items[3])


@pytest.mark.parametrize("where", [0, 25, 49])
def test_one_that_is_stuck_is_told_to_be_busy_and_the_rest_as_it_is(where: int) -> None:
    items = listed(*(f"d{number:02}" for number in range(50)))
    fake = Fake(stuck=[items[where].name])
    answers = survey(fake, items)
    assert [name for name, _answer in answers] == [item.name for item in items]
    busy = answers.pop(where)[1]
    assert busy.error_code == "domain_busy"
    assert busy.details == {"domain": items[where].name, "timeout": 0.6}
    assert answers == [(item.name, reading(item)) for item in items if item is not items[where]]


def test_the_rest_is_read_before_the_timeout_of_the_one_that_is_stuck() -> None:
    items = listed("a", "b", "c", "d", "e", "f")
    fake = Fake(stuck=["a"])
    ended = threading.Event()

    def wait_for_the_rest() -> None:
        # Only when everybody else has been read is the first let go: with a timeout that never comes, the pass ends
        # only if the others did not wait for it.
        while not ended.is_set() and len(fake.asked) < len(items):
            ended.wait(0.01)
        fake.let_go.set()

    watcher = threading.Thread(target=wait_for_the_rest)
    watcher.start()
    answers = survey(fake, items, timeout=PATIENCE)
    ended.set()
    watcher.join()
    assert answers == [(item.name, reading(item)) for item in items]


def test_a_call_that_lies_unsent_beside_one_that_hangs_is_taken_along() -> None:
    """As in clients before libvirt 12.8; 5 of 25 passes called a domain busy that nothing held, and none do so now."""
    fake = Fake(stuck=["a"])
    fake.unsent = {"c"}
    answers = dict(survey(fake, listed("a", "b", "c")))
    assert isinstance(answers["a"], VirtmemError)
    assert isinstance(answers["c"], Reading)


def test_who_answers_late_but_in_time_is_told_of() -> None:
    items = listed("a", "b")
    fake = Fake(stuck=["a"])
    threading.Timer(0.2, fake.let_go.set).start()
    assert survey(fake, items, timeout=PATIENCE) == [(item.name, reading(item)) for item in items]


def test_the_timeout_is_kept() -> None:
    now = [0.0]
    lock = threading.Lock()

    def clock() -> float:
        # Every look at the clock is a tenth of a second later.
        with lock:
            now[0] += 0.1
            return now[0]

    fake = Fake(stuck=["a"])
    try:
        answers = list(_survey.read_all(t.cast("Hypervisor", fake), listed("a", "b"), 20.0, clock))
    finally:
        fake.let_go.set()
    assert t.cast(VirtmemError, answers[0][1]).error_code == "domain_busy"
    assert 20.0 <= now[0] < 21.0


def test_no_more_calls_are_under_way_than_a_daemon_works_on() -> None:
    items = listed(*(f"d{number:02}" for number in range(20)))
    stuck = [item.name for item in items[:8]]
    fake = Fake(stuck=stuck)
    threading.Timer(0.6, fake.let_go.set).start()
    answers = survey(fake, items, timeout=0.3)
    assert 1 < fake.most <= 5
    assert [name for name, _answer in answers] == [item.name for item in items]
    # Those that nobody got round to ask are not told to be busy.
    assert all(isinstance(answer, Reading) for _name, answer in answers[8:])
    assert all(answer.error_code == "domain_busy" for _name, answer in answers[:5] if isinstance(answer, VirtmemError))
    assert sum(isinstance(answer, VirtmemError) for _name, answer in answers) >= 5
