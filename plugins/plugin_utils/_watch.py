# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Watches hypervisors for the event source: listens, looks, and puts what is new into a rulebook's queue.

Everything that asks libvirt runs in a thread, so that nothing holds up the rulebook's loop. libvirt's events come from
its own loop in a thread too, not from libvirtaio: that must be called from one thread only, and a call that waits for
an answer takes in events of others meanwhile.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import fnmatch
import logging
import time
import typing as t
from dataclasses import dataclass

from ..module_utils import _survey
from ..module_utils._libvirt import connection, events
from ..module_utils._memory.errors import VirtmemError
from ..module_utils._memory.inventory import news
from ..module_utils._observe import Observer, missing_libraries

LOG = logging.getLogger("virtmem.libvirt.memory")

# The pauses between attempts to connect, in seconds: growing, and no longer than people wait for.
_PAUSES = (0.25, 0.5, 1.0, 2.0, 3.0)


class Queue(t.Protocol):
    """The rulebook's queue."""

    async def put(self, item: dict[str, t.Any]) -> None:
        """Takes an event, once there is room for it."""


class ArgumentError(ValueError):
    """An argument of the event source is not what it must be."""


@dataclass(frozen=True)
class Settings:
    """The arguments of the event source."""

    uris: tuple[str, ...]
    domains: tuple[str, ...]
    interval: float
    statistics: bool


def _texts(name: str, value: t.Any) -> tuple[str, ...]:
    """A list of texts, also as a rulebook's variable hands it on: one text, or a list that was made a text."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("[") and text.endswith("]"):
            with contextlib.suppress(ValueError, SyntaxError):
                value = ast.literal_eval(text)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not texts or not all(isinstance(item, str) and item for item in texts):
        message = f"{name}: {value!r} is not a text, nor a list of texts with at least one."
        raise ArgumentError(message)
    return tuple(dict.fromkeys(texts))


def _seconds(name: str, value: t.Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if isinstance(value, bool) or not 1 <= seconds <= 86400:
        message = f"{name}: {value!r} is not a number of seconds from 1 to 86400."
        raise ArgumentError(message)
    return seconds


def _flag(name: str, value: t.Any) -> bool:
    known = {"true": True, "yes": True, "false": False, "no": False}.get(str(value).lower())
    if known is None:
        message = f"{name}: {value!r} is neither true nor false."
        raise ArgumentError(message)
    return known


def settings(arguments: t.Mapping[str, t.Any]) -> Settings:
    """The arguments of the event source, checked.

    Args:
        arguments: as the rulebook gives them.

    Raises:
        ArgumentError: one of them is unknown, or is not what it must be.
    """
    # The engine has a queue of its own for sources that want to hear what became of their events.
    given = {name: value for name, value in arguments.items() if name != "eda_feedback_queue"}
    known = ("uris", "domains", "interval", "statistics")
    for name in given.keys() - set(known):
        message = f"There is no argument {name}; there are {', '.join(known)}."
        raise ArgumentError(message)
    return Settings(
        uris=_texts("uris", given.get("uris", "qemu:///system")),
        domains=_texts("domains", given.get("domains", "*")),
        interval=_seconds("interval", given.get("interval", 60)),
        statistics=_flag("statistics", given.get("statistics", False)),
    )


class _Watcher:
    """One hypervisor."""

    def __init__(self, uri: str, wanted: Settings, queue: Queue, clock: t.Callable[[], float] = time.monotonic) -> None:
        self._uri = uri
        self._wanted = wanted
        self._queue = queue
        self._clock = clock
        self._news = news.News(uri, wanted.interval)
        self._happened: dict[str, list[events.Event]] = {}  # by UUID: what must be looked at, and why
        self._is_lost = False
        self._failures = 0  # since the hypervisor was read
        self._something = asyncio.Event()

    # --- as long as the rulebook runs

    async def run(self) -> None:
        """Connects, watches, and connects again."""
        while True:
            try:
                async with self._connected() as hypervisor:
                    await self._watch(hypervisor)
            except VirtmemError as error:
                LOG.warning("%s: %s", self._uri, error.msg)
                if not self._failures:
                    await self._put(self._news.of_connection(news.CONNECTION_LOST, error.msg))
            await asyncio.sleep(_PAUSES[min(self._failures, len(_PAUSES) - 1)])
            self._failures += 1

    @contextlib.asynccontextmanager
    async def _connected(self) -> t.AsyncIterator[connection.Hypervisor]:
        """An open connection that tells of its events."""
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:

            def begin() -> connection.Hypervisor:
                hypervisor = stack.enter_context(connection.connect(self._uri, read_only=True))
                self._news.versions = hypervisor.versions()
                hypervisor.listen(lambda event: _call_in(loop, self._hear, event))
                return hypervisor

            self._is_lost = False
            self._happened.clear()
            try:
                yield await asyncio.to_thread(begin)
            finally:
                # Also when the rulebook ends: in the thread, since a broken daemon may take its time.
                await asyncio.shield(asyncio.to_thread(stack.close))

    def _hear(self, event: events.Event) -> None:
        """Notes what libvirt tells; runs in the rulebook's loop."""
        if event.uuid is None:
            self._is_lost = True
        else:
            self._happened.setdefault(event.uuid, []).append(event)
        self._something.set()

    async def _watch(self, hypervisor: connection.Hypervisor) -> None:
        """Looks whenever there is a reason to; ends by an error."""
        observer = Observer(hypervisor)
        began, survey_due, look_due = False, self._clock(), None
        while True:
            now = self._clock()
            is_look_due = look_due is not None and now >= look_due
            if self._is_lost:
                raise VirtmemError("connection_lost", f"The connection to {self._uri} broke.", {"uri": self._uri}, "")
            if now >= survey_due:
                told = await asyncio.to_thread(self._survey, observer, hypervisor, not began)
                if not began:
                    text = f"{self._uri} is reached; {len(self._news.domains())} domains are watched."
                    await self._put(self._news.of_connection(news.CONNECTED, text))
                    self._failures = 0
                began, survey_due = True, self._clock() + self._wanted.interval
            elif self._happened or is_look_due:
                happened, self._happened = self._happened, {}
                if is_look_due:
                    happened.update({uuid: [] for uuid in self._news.unsettled() if uuid not in happened})
                told = await asyncio.to_thread(self._look, observer, hypervisor, happened)
            else:
                self._something.clear()
                due = survey_due if look_due is None else min(survey_due, look_due)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._something.wait(), max(due - now, 0.0))
                continue
            for event in told:
                await self._put(event)
            if not self._news.unsettled():
                look_due = None
            elif look_due is None or is_look_due:  # others may have news all the time
                look_due = self._clock() + news.SETTLED_AFTER

    async def _put(self, event: news.Event) -> None:
        await self._queue.put({"memory": event})
        await asyncio.sleep(0)

    # --- in a thread

    def _is_wanted(self, name: str, uuid: str) -> bool:
        return any(uuid == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in self._wanted.domains)

    def _survey(self, observer: Observer, hypervisor: connection.Hypervisor, begins: bool) -> list[news.Event]:
        """Looks at every domain."""
        known = self._news
        listed = [item for item in hypervisor.list_domains() if self._is_wanted(item.name, item.uuid)]
        gone = known.domains() - {item.uuid for item in listed}
        told = []
        begins = begins and not known.domains()
        for item, answer in _survey.read_all(hypervisor, listed, _survey.TIMEOUT, guest=self._wanted.statistics):
            if isinstance(answer, VirtmemError):
                self._unreadable(answer)
            elif answer is None:
                gone.add(item.uuid)
            else:
                told += self._of_reading(observer, answer, begins)
        for uuid in gone:
            told += known.gone(uuid)
            observer.forget(uuid)
        return told

    def _of_reading(self, observer: Observer, reading: connection.Reading, begins: bool) -> list[news.Event]:
        try:
            return self._news.look(observer.decoded(reading), self._clock(), begins=begins)
        except VirtmemError as error:
            self._unreadable(error)
            return []

    def _look(
        self,
        observer: Observer,
        hypervisor: connection.Hypervisor,
        happened: t.Mapping[str, t.Sequence[events.Event]],
    ) -> list[news.Event]:
        """Looks at the domains about which something was heard."""
        known, told = self._news, []
        for uuid, heard in happened.items():
            kinds = [event.what for event in heard]
            for event in heard:
                if event.what == events.REJECTED:
                    told += known.refused(uuid, event.alias)
            try:
                domain = observer.observe(hypervisor.find(uuid))
                if self._wanted.statistics and domain.live is not None:
                    domain = domain._replace(guest=hypervisor.statistics(uuid))
                if self._is_wanted(domain.name, uuid):
                    told += known.look(domain, self._clock(), kinds)
            except VirtmemError as error:
                if error.error_code in ("domain_not_found", "domain_vanished"):
                    told += known.gone(uuid, kinds)
                    observer.forget(uuid)
                else:
                    self._unreadable(error)
        return told

    def _unreadable(self, error: VirtmemError) -> None:
        """One domain that can't be read is left for the next look; a connection that is gone is for all of them."""
        if error.error_code == "connection_lost":
            raise error
        LOG.warning("%s: %s", self._uri, error.msg)


def _call_in(loop: asyncio.AbstractEventLoop, call: t.Callable[..., None], *arguments: t.Any) -> None:
    """Has the loop make the call; what comes when it is closed is about nobody."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *arguments)


async def watch(queue: Queue, arguments: t.Mapping[str, t.Any]) -> None:
    """Watches until it is cancelled.

    Args:
        queue: takes an event at a time, `{"memory": {...}}`.
        arguments: `uris`, `domains`, `interval`, `statistics`.

    Raises:
        ArgumentError: an argument is wrong.
        RuntimeError: a library is missing.
    """
    for library, package, _trace in missing_libraries():
        message = f"{library} (package {package}) is missing in the Python that runs the rulebook."
        raise RuntimeError(message)
    wanted = settings(arguments)
    await asyncio.gather(*(_Watcher(uri, wanted, queue).run() for uri in wanted.uris))
