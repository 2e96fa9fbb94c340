# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What happens to domains while a task waits, as libvirt tells it: the event loop, registrations, and a queue."""

from __future__ import annotations

import contextlib
import queue
import threading
import typing as t

from .calls import Calls

with contextlib.suppress(ImportError):  # calls.py reports it
    import libvirt

# How often the connection is probed and how many answers may be missing before it counts as broken: 30 s.
_KEEPALIVE_INTERVAL, _KEEPALIVE_COUNT = 5, 5

# Events that an older libvirt has not, and that nobody depends on.
_LATER_EVENTS = frozenset({"MEMORY_DEVICE_SIZE_CHANGE"})


def _unknown_events() -> tuple[int, ...]:
    """The codes by which an older daemon, or a driver of another kind, says that it has no such event."""
    return (libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_NO_SUPPORT)


# What a look at the domain does not show afterwards: the guest refused to give the device back; it begins anew; and the
# domain started, stopped, or came from or went to another hypervisor.
REJECTED, REBOOTED, STARTED, STOPPED, MIGRATED = "rejected", "rebooted", "started", "stopped", "migrated"


class Event(t.NamedTuple):
    """Something happened to a domain, or (with no uuid) to the connection."""

    uuid: str | None
    alias: str | None = None
    what: str = ""  # one of the above; empty if a look at the domain shows it


def _of_lifecycle(event: int, detail: int) -> str:
    """What a change of a domain's state is, if it is one that matters here."""
    if event == libvirt.VIR_DOMAIN_EVENT_STARTED:
        return MIGRATED if detail == libvirt.VIR_DOMAIN_EVENT_STARTED_MIGRATED else STARTED
    if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
        return MIGRATED if detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED else STOPPED
    return ""


class _EventLoop:
    """libvirt's event loop in a thread of its own, one for the process.

    It must be registered before the first connection is opened, and once it is registered it has to run:
    a connection negotiates keepalive then, and its daemon drops a client that does not answer for 30 s.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is not None:
            return
        libvirt.virEventRegisterDefaultImpl()
        self._thread = threading.Thread(target=self._run, name="libvirt-events", daemon=True)
        self._thread.start()

    @staticmethod
    def _run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()


EVENT_LOOP = _EventLoop()


class Events(Calls):
    """A connection that hears what happens to the domains that are watched."""

    def __init__(self, connection: t.Any, uri: str, limit: float = 60.0) -> None:
        """Nothing is watched yet."""
        super().__init__(connection, uri, limit)
        self._callbacks: list[int] = []
        self._watched: set[str] = set()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._told: t.Callable[[Event], None] | None = None

    def watch(self, uuid: str) -> None:
        """From now on, `next_event` tells what happens to the domain's memory devices and its state.

        Raises:
            VirtmemError: `connection_lost`, `libvirt_error`.
        """
        self._watched.add(uuid)
        if not self._callbacks:
            self._hear()

    def listen(self, told: t.Callable[[Event], None]) -> None:
        """From now on, what happens to any domain, and the end of the connection, is told, in the loop's thread.

        Args:
            told: must neither raise nor take long.

        Raises:
            VirtmemError: `connection_lost`, `libvirt_error`.
        """
        self._told = told
        self._hear(DEVICE_ADDED=self._on_device)

    def _hear(self, **more: t.Callable[..., None]) -> None:
        # Once for all domains: five calls, instead of five for each domain and as many at the end. What other domains
        # do is dropped. Callbacks run in the loop's thread and only leave a note: an exception in one would be lost.
        callbacks: dict[str, t.Callable[..., None]] = {
            "DEVICE_REMOVED": self._on_device,
            "DEVICE_REMOVAL_FAILED": self._on_rejection,
            "LIFECYCLE": self._on_lifecycle,
            "REBOOT": self._on_reboot,
            # Of libvirt 7.9. An older daemon does not know it, and polling finds the size just as well.
            "MEMORY_DEVICE_SIZE_CHANGE": self._on_size_change,
            **more,
        }
        registered: list[int] = []
        with self._translated("register for events"):
            try:
                for name, callback in callbacks.items():
                    registered += self._register(name, callback)
            except libvirt.libvirtError:
                # Half of them would look like all of them the next time, and a rejection would never be heard.
                self._deregister(registered)
                raise
        self._callbacks = registered

    def _register(self, name: str, callback: t.Callable[..., None]) -> list[int]:
        """The number of the registration; none if this event is of a later libvirt, at either end."""
        event = getattr(libvirt, f"VIR_DOMAIN_EVENT_ID_{name}", None)
        if event is None and name in _LATER_EVENTS:
            return []
        try:
            return [self._connection.domainEventRegisterAny(None, event, callback, None)]
        except libvirt.libvirtError as error:
            if name in _LATER_EVENTS and error.get_error_code() in _unknown_events():
                return []
            raise

    def _deregister(self, callbacks: t.Iterable[int]) -> None:
        with contextlib.suppress(libvirt.libvirtError):
            for callback in callbacks:
                self._connection.domainEventDeregisterAny(callback)

    def next_event(self, timeout: float) -> Event | None:
        """The next event of a watched domain, or None after so many seconds without one."""
        try:
            return self._events.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            return None

    def wake(self) -> None:
        """Makes `next_event` return at once, from a signal handler if need be."""
        self._events.put(Event(None))

    def _note(self, domain: t.Any, alias: str | None = None, what: str = "") -> None:
        uuid = domain.UUIDString()
        if self._told is not None:
            self._told(Event(uuid, alias, what))
        elif uuid in self._watched:
            self._events.put(Event(uuid, alias, what))

    def _on_size_change(self, _connection: t.Any, domain: t.Any, alias: str, _size_kib: int, _opaque: t.Any) -> None:
        self._note(domain, alias)

    def _on_device(self, _connection: t.Any, domain: t.Any, alias: str, _opaque: t.Any) -> None:
        self._note(domain, alias)

    def _on_rejection(self, _connection: t.Any, domain: t.Any, alias: str, _opaque: t.Any) -> None:
        self._note(domain, alias, REJECTED)

    def _on_lifecycle(self, _connection: t.Any, domain: t.Any, event: int, detail: int, _opaque: t.Any) -> None:
        self._note(domain, what=_of_lifecycle(event, detail))

    def _on_reboot(self, _connection: t.Any, domain: t.Any, _opaque: t.Any) -> None:
        self._note(domain, what=REBOOTED)

    def _on_close(self, _connection: t.Any, _reason: int, _opaque: t.Any) -> None:
        (self._told or self._events.put)(Event(None))

    def notice_close(self) -> None:
        """Makes a broken connection an event too, and has a silent one noticed; local drivers know neither."""
        for call, arguments in (
            (self._connection.setKeepAlive, (_KEEPALIVE_INTERVAL, _KEEPALIVE_COUNT)),
            (self._connection.registerCloseCallback, (self._on_close, None)),
        ):
            with self._translated("watch the connection"):
                try:
                    call(*arguments)
                except libvirt.libvirtError as error:
                    if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
                        raise

    def stop_listening(self) -> None:
        """Takes the registrations back."""
        self._deregister(self._callbacks)
