# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The event source: its arguments, the way to its code, and how it watches libvirt's own driver for tests."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import runpy
import shutil
import sys
import time
import typing as t
from pathlib import Path

import libvirt
import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt import calls
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.inventory import news
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.support import Versions
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.xml import element
from ansible_collections.virtmem.libvirt.plugins.plugin_utils import _watch
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils import _helpers as helpers

COLLECTION = Path(_watch.__file__).parents[2]
SOURCE = Path("extensions", "eda", "plugins", "event_source", "memory.py")
DEFAULT = "test:///default"  # one and the same for all connections of a process

Told = dict[str, t.Any]


def begun(main: t.Callable[..., t.Awaitable[None]], arguments: Told) -> None:
    """What becomes of a source that ends at once."""

    async def begin() -> None:
        await main(asyncio.Queue(), arguments)

    asyncio.run(begin())


# --- arguments


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({}, "uris", ("qemu:///system",)),
        ({"uris": "qemu+ssh://hv1/system"}, "uris", ("qemu+ssh://hv1/system",)),
        ({"uris": ["a", "b", "a"]}, "uris", ("a", "b")),
        ({"uris": "['a', 'b']"}, "uris", ("a", "b")),
        ({}, "domains", ("*",)),
        ({"domains": "web[0-9]"}, "domains", ("web[0-9]",)),
        ({"interval": "30"}, "interval", 30.0),
        ({"statistics": "true"}, "statistics", True),
        ({"eda_feedback_queue": object()}, "statistics", False),
    ],
)
def test_the_arguments(given: Told, name: str, value: t.Any) -> None:
    assert getattr(_watch.settings(given), name) == value


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"uri": "a"}, ["no argument uri", "uris, domains"]),
        ({"uris": []}, ["uris: []"]),
        ({"uris": [1]}, ["uris: [1]"]),
        ({"uris": ""}, ["uris: ''"]),
        ({"domains": {}}, ["domains: {}"]),
        ({"interval": 0}, ["interval: 0", "1 to 86400"]),
        ({"interval": True}, ["interval: True"]),
        ({"interval": "often"}, ["interval: 'often'"]),
        ({"interval": "nan"}, ["interval: 'nan'"]),
        ({"statistics": "perhaps"}, ["statistics: 'perhaps'"]),
    ],
)
def test_a_wrong_argument_is_named(given: Told, words: list[str]) -> None:
    with pytest.raises(_watch.ArgumentError) as caught:
        _watch.settings(given)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(("module", "name"), [(calls, "LIBVIRT_IMPORT_ERROR"), (element, "LXML_IMPORT_ERROR")])
def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, module: t.Any, name: str) -> None:
    monkeypatch.setattr(module, name, "Traceback")
    with pytest.raises(RuntimeError, match=r"python3-(libvirt|lxml)"):
        begun(_watch.watch, {})


# --- the way to the code


@pytest.fixture
def no_package() -> t.Iterator[None]:
    """Forgets the package of the event source, before and after."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "_virtmem_libvirt"]:
            del sys.modules[name]

    forget()
    yield
    forget()


@pytest.mark.usefixtures("no_package")
def test_the_source_finds_its_code_wherever_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "somewhere" / "collection"
    shutil.copytree(COLLECTION / "plugins", installed / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    (installed / SOURCE).parent.mkdir(parents=True)
    shutil.copy(COLLECTION / SOURCE, installed / SOURCE)
    # As in a decision environment, where nothing can import ansible_collections.
    monkeypatch.setattr(sys, "path", [path for path in sys.path if not Path(path, "ansible_collections").is_dir()])
    source = runpy.run_path(str(installed / SOURCE))
    assert asyncio.iscoroutinefunction(source["main"])
    with pytest.raises(ValueError, match="no argument uri"):
        begun(source["main"], {"uri": "a"})
    assert str(installed) in str(sys.modules["_virtmem_libvirt.plugin_utils._watch"].__file__)


def test_the_source_alone_says_where_it_belongs(tmp_path: Path) -> None:
    alone = tmp_path / "a" / "b" / "c" / "d" / "memory.py"
    alone.parent.mkdir(parents=True)
    shutil.copy(COLLECTION / SOURCE, alone)
    with pytest.raises(RuntimeError, match=r"must stay in the collection virtmem\.libvirt"):
        begun(runpy.run_path(str(alone))["main"], {})


# --- watching


class Watching:
    """An event source that runs, and what it tells."""

    def __init__(self, queue: asyncio.Queue[Told]) -> None:
        self.queue = queue

    async def next(self) -> Told:
        """The next event."""
        event: Told = (await asyncio.wait_for(self.queue.get(), 20))["memory"]
        assert tuple(event) == news.KEYS
        return event

    async def kinds(self, *wanted: str) -> None:
        """These kinds come next."""
        for kind in wanted:
            assert (await self.next())["kind"] == kind


def watching(arguments: Told, story: t.Callable[[Watching], t.Awaitable[None]]) -> None:
    """Runs the source beside what happens, with the queue of one place that rulebooks have."""

    async def both() -> None:
        queue: asyncio.Queue[Told] = asyncio.Queue(maxsize=1)
        source = asyncio.create_task(_watch.watch(queue, arguments))
        try:
            await story(Watching(queue))
            assert not source.done()
        finally:
            source.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await source

    asyncio.run(both())


@pytest.fixture
def running() -> t.Iterator[t.Any]:
    """The one domain of libvirt's driver for tests, which runs before and after."""
    _watch.connection.EVENT_LOOP.start()
    connection = libvirt.open(DEFAULT)
    domain = connection.lookupByName("test")
    yield domain
    with contextlib.suppress(libvirt.libvirtError):
        domain.create()
    connection.close()


def test_a_stop_and_a_start_are_told(running: t.Any) -> None:
    async def story(watched: Watching) -> None:
        connected = await watched.next()
        assert (connected["kind"], connected["uri"]) == ("connected", DEFAULT)
        await asyncio.to_thread(running.destroy)
        stopped = await watched.next()
        assert (stopped["kind"], stopped["domain"], stopped["state"]) == ("stopped", "test", "shutoff")
        await asyncio.to_thread(running.create)
        await watched.kinds("started")

    watching({"uris": DEFAULT}, story)


def test_other_domains_are_none_of_its_business(running: t.Any) -> None:
    async def story(watched: Watching) -> None:
        await watched.kinds("connected")
        await asyncio.to_thread(running.destroy)
        await asyncio.to_thread(running.create)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(watched.queue.get(), 1)

    watching({"uris": DEFAULT, "domains": ["web*"]}, story)


def test_a_hypervisor_that_is_not_there_is_told_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_watch, "_PAUSES", (0.05,))
    node = tmp_path / "node.xml"

    async def story(watched: Watching) -> None:
        lost = await watched.next()
        assert (lost["kind"], "node.xml" in lost["message"]) == ("connection_lost", True)
        await asyncio.sleep(0.5)
        node.write_text("<node/>")
        await watched.kinds("connected")

    watching({"uris": f"test://{node}"}, story)


def test_a_hypervisor_that_opens_and_says_nothing_is_told_once_too(
    running: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def refuse(_self: t.Any) -> t.NoReturn:
        asked.append(time.monotonic())
        raise VirtmemError("access_denied", "No.", {}, "")

    monkeypatch.setattr(_watch, "_PAUSES", (0.05, 0.1, 0.4))
    monkeypatch.setattr(_watch.connection.Hypervisor, "list_domains", refuse)
    assert running.isActive()

    async def story(watched: Watching) -> None:
        await watched.kinds("connection_lost")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(watched.queue.get(), 1)

    watching({"uris": DEFAULT}, story)
    assert len(asked) <= 5, "the pauses do not grow"


def test_what_no_event_tells_is_found_by_looking(running: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watch.events.Events, "listen", lambda _self, _told: None)

    async def story(watched: Watching) -> None:
        await watched.kinds("connected")
        await asyncio.to_thread(running.destroy)
        await watched.kinds("stopped")

    watching({"uris": DEFAULT, "interval": 1}, story)


def test_several_hypervisors_are_watched_at_the_same_time(running: t.Any, tmp_path: Path) -> None:
    node = tmp_path / "node.xml"
    node.write_text("<node/>")
    assert running.isActive()

    async def story(watched: Watching) -> None:
        told = [await watched.next(), await watched.next()]
        assert {event["uri"] for event in told} == {DEFAULT, f"test://{node}"}

    watching({"uris": [DEFAULT, f"test://{node}"]}, story)


# --- many changes


class Fleet:
    """A hypervisor of a hundred guests whose sizes change faster than anybody can look."""

    COUNT = 100
    XML = (
        "<domain type='kvm' id='1'><name>{name}</name><uuid>{uuid}</uuid>"
        "<maxMemory slots='16' unit='KiB'>16777216</maxMemory><memory unit='KiB'>5242880</memory>"
        "<currentMemory unit='KiB'>1048576</currentMemory><vcpu>1</vcpu><os><type arch='x86_64'>hvm</type></os>"
        "<cpu><numa><cell id='0' cpus='0' memory='1048576' unit='KiB'/></numa></cpu>"
        "<devices><memory model='virtio-mem'><target><size unit='KiB'>4194304</size><node>0</node>"
        "<block unit='KiB'>2048</block><requested unit='KiB'>{size}</requested>{current}</target>"
        "<alias name='ua-vm0'/></memory></devices></domain>"
    )

    def __init__(self) -> None:
        self.sizes = dict.fromkeys((f"00000000-0000-0000-0000-{number:012}" for number in range(self.COUNT)), 2048)
        self.told: t.Callable[[_watch.events.Event], None] = lambda _event: None

    def versions(self) -> Versions:
        """Any."""
        return helpers.TRIXIE

    def listen(self, told: t.Callable[[_watch.events.Event], None]) -> None:
        """Tells of every change from now on."""
        self.told = told

    def list_domains(self) -> list[_watch.connection.Listed]:
        """All of them run."""
        listed = _watch.connection.Listed
        return [listed(uuid[-3:], uuid, "running", True, True, False, None) for uuid in self.sizes]

    def read_listed(self, listed: _watch.connection.Listed, _guest: bool = False) -> _watch.connection.Reading:
        """One of them."""
        return self.read(listed.uuid)

    def find(self, uuid: str) -> str:
        """By its UUID."""
        if uuid not in self.sizes:
            raise VirtmemError("domain_not_found", "Gone.", {}, "")
        return uuid

    def forget(self, uuid: str) -> None:
        """Nothing is kept here."""

    def read(self, uuid: str, _scopes: t.Collection[str] = ()) -> _watch.connection.Reading:
        """As it is at this moment."""
        size = self.sizes[uuid]
        live, config = (
            self.XML.format(name=uuid[-3:], uuid=uuid, size=size, current=current)
            for current in (f"<current unit='KiB'>{size}</current>", "")
        )
        return _watch.connection.Reading(uuid[-3:], uuid, "running", True, False, live, config)

    def change(self, number: int) -> None:
        """The next change."""
        uuid = list(self.sizes)[number % self.COUNT]
        self.sizes[uuid] = 2048 * (2 + number * 7 % 1000)
        self.told(_watch.events.Event(uuid, "ua-vm0"))


def test_of_ten_thousand_changes_every_last_one_is_known_and_nothing_piles_up(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet, known, sizes = Fleet(), {}, []
    monkeypatch.setattr(_watch.connection, "connect", lambda _uri, **_options: contextlib.nullcontext(fleet))

    async def take(watched: Watching) -> None:
        event = await watched.next()
        if event["kind"] == "size_changed":
            known[event["uuid"]] = event["current"]

    async def story(watched: Watching) -> None:
        await watched.kinds("connected")
        for number in range(10_000):
            # From another thread, as libvirt does it.
            await asyncio.to_thread(fleet.change, number)
            if number % 7 == 0:  # slower than they come
                await take(watched)
            if number in (2_000, 9_999):
                gc.collect()
                sizes.append(len(gc.get_objects()))
        while known != {uuid: size * 1024 for uuid, size in fleet.sizes.items()}:
            await take(watched)

    watching({"uris": "model:///", "interval": 3600}, story)
    assert sizes[1] < sizes[0] * 1.02 + 2000, sizes


def test_of_guests_that_are_gone_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet, observers = Fleet(), []

    class Kept(_watch.Observer):
        """An observer whose memory can be looked at."""

        def __init__(self, hypervisor: t.Any) -> None:
            super().__init__(hypervisor)
            observers.append(self)

    monkeypatch.setattr(_watch, "Observer", Kept)
    monkeypatch.setattr(_watch.connection, "connect", lambda _uri, **_options: contextlib.nullcontext(fleet))

    async def story(watched: Watching) -> None:
        await watched.kinds("connected")
        assert len(observers[0]._last) == 2 * Fleet.COUNT
        for uuid in list(fleet.sizes):
            del fleet.sizes[uuid]
            await asyncio.to_thread(fleet.told, _watch.events.Event(uuid, None, _watch.events.STOPPED))
            await watched.kinds("stopped")
        assert observers[0]._last == {}

    watching({"uris": "model:///", "interval": 3600}, story)
