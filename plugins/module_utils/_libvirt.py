# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The hypervisor: connect, read, attach, update, redefine, events, and libvirt's errors as the project's own.

The only importer of libvirt. It moves text and numbers and decides nothing. Where an error comes from
libvirt, its code decides, never its text: messages are translated to the daemon's language.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import queue
import re
import threading
import traceback
import typing as t
from dataclasses import dataclass

from ._memory.device import CONFIG, LIVE, SCOPES
from ._memory.errors import VirtmemError
from ._memory.support import Versions

try:
    import libvirt
except ImportError:
    LIBVIRT_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    LIBVIRT_IMPORT_ERROR = None

_T = t.TypeVar("_T")

_UUID = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}", re.ASCII)

# virDomainState, by libvirt's own names.
_STATES = ("nostate", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended")

# How often the connection is probed and how many answers may be missing before it counts as broken: 30 s.
_KEEPALIVE_INTERVAL, _KEEPALIVE_COUNT = 5, 5
# How long opening a connection, and a single change, may take, in seconds. libvirt itself gives up after 30 s where
# another job holds the domain, but waits for ever for a QEMU that has stopped answering.
_OPEN_TIMEOUT = 60.0
_CALL_TIMEOUT = 60.0


@dataclass(frozen=True)
class Reading:
    """A domain as libvirt describes it, undecoded."""

    name: str
    uuid: str
    state: str
    persistent: bool
    error_paused: bool
    live_xml: str | None
    config_xml: str | None
    saved_xml: str | None = None  # of the managed-save image, if there is one


@dataclass(frozen=True)
class Listed:
    """A domain as the list of all domains tells of it."""

    name: str
    uuid: str
    state: str
    persistent: bool
    active: bool
    managed_save: bool
    handle: t.Any


@dataclass(frozen=True)
class Event:
    """Something happened to a domain, or (with no uuid) to the connection."""

    uuid: str | None
    alias: str | None = None
    rejected: bool = False  # the guest refused to give the device back


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


_EVENT_LOOP = _EventLoop()


# The code of what QEMU itself refused (VIR_ERR_INTERNAL_ERROR).
NOT_BY_QEMU = 1


def _error(error: t.Any, doing: str, details: t.Mapping[str, t.Any] | None = None) -> VirtmemError:
    """libvirt's error as the project's own; `doing` completes the sentence `libvirt could not ...`."""
    code = error.get_error_code()
    error_code, hint = {
        libvirt.VIR_ERR_NO_DOMAIN: ("domain_vanished", "The domain was undefined meanwhile."),
        libvirt.VIR_ERR_OPERATION_DENIED: ("access_denied", _ACCESS_HINT),
        libvirt.VIR_ERR_AUTH_FAILED: ("access_denied", _ACCESS_HINT),
        libvirt.VIR_ERR_AUTH_CANCELLED: ("access_denied", _ACCESS_HINT),
        libvirt.VIR_ERR_AUTH_UNAVAILABLE: ("access_denied", _ACCESS_HINT),
        libvirt.VIR_ERR_ACCESS_DENIED: ("access_denied", _ACCESS_HINT),
        libvirt.VIR_ERR_OPERATION_TIMEOUT: (
            "domain_busy",
            "Wait for the other job of the domain (virsh domjobinfo) and run the task again.",
        ),
    }.get(code, ("libvirt_error", "Look for the cause in libvirt's message and the daemon's log."))
    message = error.get_error_message() or str(error)
    known = {"libvirt_code": code, "libvirt_domain": error.get_error_domain(), "libvirt_message": message}
    return VirtmemError(error_code, f"libvirt could not {doing}: {message}", known | dict(details or {}), hint)


_ACCESS_HINT = (
    "Connect with the right to change domains: not to a read-only socket, and as root, as a member of the group "
    "libvirt, or with a polkit rule for org.libvirt.unix.manage."
)


def _connect_error(error: t.Any, uri: str) -> VirtmemError:
    """Why a URI could not be opened."""
    translated = _error(error, f"open {uri}", {"uri": uri})
    # A socket that may not be opened is a system error; libvirt keeps its errno in int1.
    refused = error.get_error_code() == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_int1() in (errno.EACCES, errno.EPERM)
    if refused:
        return VirtmemError("access_denied", translated.msg, translated.details, _ACCESS_HINT)
    if translated.error_code == "access_denied":
        return translated
    return VirtmemError(
        "connection_failed",
        translated.msg,
        translated.details,
        f"Check the URI and that libvirtd (or virtqemud) runs there: virsh -c {uri} version.",
    )


class Hypervisor:
    """An open connection, and the domains that were read through it."""

    def __init__(self, connection: t.Any, uri: str, limit: float = 60.0) -> None:
        self._connection = connection
        self._uri = uri
        self._limit = limit  # of a single change, in seconds
        self._domains: dict[str, t.Any] = {}
        self._persistent: dict[str, bool] = {}
        self._callbacks: list[int] = []
        self._watched: set[str] = set()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    @contextlib.contextmanager
    def _translated(self, doing: str, details: t.Mapping[str, t.Any] | None = None) -> t.Iterator[None]:
        try:
            yield
        except libvirt.libvirtError as error:
            if self.broken():
                raise VirtmemError(
                    "connection_lost",
                    f"The connection to {self._uri} broke; libvirt could not {doing}.",
                    {"uri": self._uri, "libvirt_code": error.get_error_code()},
                    "Check that the daemon runs, and run the task again: it goes on where this one ended.",
                ) from error
            raise _error(error, doing, details) from error

    def _change(self, doing: str, details: t.Mapping[str, t.Any], call: t.Callable[[], t.Any]) -> None:
        """A call that changes something. It stops waiting after a while; whether anything changed is unknown then."""
        try:
            with self._translated(doing, details):
                _in_time(call, self._limit)
        except TimeoutError:
            raise VirtmemError(
                "domain_busy",
                f"libvirt could not {doing} within {self._limit:g} s, and gave no reason.",
                {"timeout": self._limit, "never_answered": True, **details},
                "QEMU no longer answers libvirt, or the host is out of memory. Look at the domain "
                "(virsh domcontrol, virsh qemu-monitor-command), and run the task again.",
            ) from None

    def _ask(self, doing: str, call: t.Callable[[], _T]) -> _T:
        """The answer to a call that reads. Some read a disk, such as that of a managed-save image, and it may hang."""
        try:
            with self._translated(doing):
                return _in_time(call, self._limit)
        except TimeoutError:
            raise VirtmemError(
                "domain_busy",
                f"libvirt could not {doing} within {self._limit:g} s, and gave no reason.",
                {"timeout": self._limit},
                "Another job holds the domain, or the storage of its managed-save image does not answer. Look at it "
                "(virsh domjobinfo, virsh managedsave-dumpxml), and run the task again.",
            ) from None

    def broken(self) -> bool:
        """Whether the connection is of no more use."""
        try:
            return not self._connection.isAlive()
        except libvirt.libvirtError:
            return True

    def versions(self) -> Versions:
        """The versions of the daemon and of its hypervisor.

        Raises:
            VirtmemError: `connection_lost`, `libvirt_error`.
        """
        return self._ask(
            "report its version",
            lambda: Versions(
                libvirt=self._connection.getLibVersion(),
                hypervisor=self._connection.getVersion(),
                driver=self._connection.getType(),
            ),
        )

    def find(self, domain: str) -> str:
        """The UUID of the domain with this name or UUID.

        Raises:
            VirtmemError: `domain_not_found`.
        """
        handle = self._ask(f"look for domain {domain}", lambda: self._lookup(domain))
        if handle is not None:
            uuid: str = handle.UUIDString()
            self._domains[uuid] = handle
            return uuid
        raise VirtmemError(
            "domain_not_found",
            f"domain: there is no domain {domain} at {self._uri}.",
            {"option": "domain", "value": domain, "uri": self._uri},
            "Check the name with virsh list --all, and whether uri is the hypervisor that has it.",
        )

    def _lookup(self, domain: str) -> t.Any:
        """libvirt's domain, by its UUID or its name; None if there is none."""
        by_uuid = self._lookup_by(self._connection.lookupByUUIDString, domain) if _UUID.fullmatch(domain) else None
        return by_uuid or self._lookup_by(self._connection.lookupByName, domain)

    @staticmethod
    def _lookup_by(lookup: t.Callable[[str], t.Any], text: str) -> t.Any:
        try:
            return lookup(text)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
        return None

    def read(self, uuid: str, scopes: t.Collection[str] = SCOPES) -> Reading:
        """The domain as it is now, in the scopes that are asked for.

        Raises:
            VirtmemError: `domain_vanished`, `connection_lost`, `domain_busy`, `libvirt_error`.
        """
        domain = self._domains[uuid]
        return self._ask(f"read domain {domain.name()}", lambda: self._read(domain, uuid, scopes))

    def _read(self, domain: t.Any, uuid: str, scopes: t.Collection[str]) -> Reading:
        # Every call counts: with a hundred domains, most of a task's time is spent in them.
        state, reason = domain.state()
        active = state != libvirt.VIR_DOMAIN_SHUTOFF
        live_xml = domain.XMLDesc(0) if active and LIVE in scopes else None
        if CONFIG in scopes or uuid not in self._persistent:
            self._persistent[uuid] = bool(domain.isPersistent())
        persistent = self._persistent[uuid]
        # A transient domain would answer with its live definition.
        wants_config = persistent and CONFIG in scopes
        config_xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) if wants_config else None
        saved = wants_config and not active and domain.hasManagedSaveImage(0)
        return Reading(
            name=domain.name(),
            uuid=uuid,
            state=_state(state, reason)[0],
            persistent=persistent,
            error_paused=state == libvirt.VIR_DOMAIN_PAUSED and reason in _paused_by_errors(),
            live_xml=live_xml,
            config_xml=config_xml,
            saved_xml=domain.managedSaveGetXMLDesc(0) if saved else None,
        )

    def list_domains(self) -> list[Listed]:
        """Every domain, by a handful of calls however many there are.

        Raises:
            VirtmemError: `connection_lost`, `libvirt_error`.
        """
        return self._ask("list the domains", self._list)

    def _list(self) -> list[Listed]:
        def having(flag: int) -> set[str]:
            return {domain.UUIDString() for domain in self._connection.listAllDomains(flag)}

        # First all of them: what is asked after that is about domains that are known to be there. Only the
        # exceptions are asked for, since each list has to be gone through.
        every = self._connection.listAllDomains(0)
        transient = having(libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT)
        saved = having(libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)
        # Neither running nor shut off; which it is has to be asked of each.
        unclear = having(libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED | libvirt.VIR_CONNECT_LIST_DOMAINS_OTHER)
        listed = []
        for domain in every:
            uuid = domain.UUIDString()
            active = domain.ID() >= 0  # known from the list
            state = "" if uuid in unclear else "running" if active else "shutoff"
            listed.append(Listed(domain.name(), uuid, state, uuid not in transient, active, uuid in saved, domain))
        return sorted(listed, key=lambda item: item.name)

    def read_listed(self, listed: Listed) -> Reading | None:
        """What there is to read of a listed domain, None if it is gone.

        Raises:
            VirtmemError: `connection_lost`, `domain_busy`, `libvirt_error`.
        """
        domain = listed.handle
        try:
            with self._translated(f"read domain {listed.name}"):
                state, reason = (listed.state, 0) if listed.state else _state(*domain.state())
                return Reading(
                    name=listed.name,
                    uuid=listed.uuid,
                    state=state,
                    persistent=listed.persistent,
                    error_paused=state == "paused" and reason in _paused_by_errors(),
                    live_xml=domain.XMLDesc(0) if listed.active else None,
                    config_xml=domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) if listed.persistent else None,
                    saved_xml=domain.managedSaveGetXMLDesc(0) if listed.managed_save and not listed.active else None,
                )
        except VirtmemError as error:
            if error.error_code == "domain_vanished":
                return None
            raise

    def capabilities(self) -> str:
        """The XML that describes the host.

        Raises:
            VirtmemError: `connection_lost`, `libvirt_error`.
        """
        return str(self._ask("describe the host", self._connection.getCapabilities))

    def domain_capabilities(self) -> str:
        """The XML that describes what domains can have here.

        Raises:
            VirtmemError: `access_denied` on a read-only connection, `connection_lost`, `libvirt_error`.
        """
        call = functools.partial(self._connection.getDomainCapabilities, None, None, None, None, 0)
        return str(self._ask("describe what domains can have", call))

    def attach(self, uuid: str, scope: str, xml: str) -> None:
        """Attaches a device in one scope.

        Raises:
            VirtmemError: as `read`, and `access_denied`.
        """
        call = functools.partial(self._domains[uuid].attachDeviceFlags, xml, _flag(scope))
        self._change(f"attach the device ({scope})", {"op": "attach", "scope": scope}, call)

    def update(self, uuid: str, scope: str, xml: str) -> None:
        """Updates a device in one scope, from the element that was read in that scope.

        Raises:
            VirtmemError: as `attach`.
        """
        call = functools.partial(self._domains[uuid].updateDeviceFlags, xml, _flag(scope))
        self._change(f"update the device ({scope})", {"op": "update", "scope": scope}, call)

    def detach(self, uuid: str, scope: str, xml: str) -> None:
        """Detaches a device in one scope, by the element that was read in that scope.

        Raises:
            VirtmemError: as `attach`.
        """
        call = functools.partial(self._domains[uuid].detachDeviceFlags, xml, _flag(scope))
        self._change(f"detach the device ({scope})", {"op": "detach", "scope": scope}, call)

    def unplug(self, uuid: str, alias: str) -> None:
        """Asks the running guest to give a device back, and returns at once.

        The call that takes an element instead blocks for 5 s, and then says that all is well even where nothing
        happened (9.0 to 11.3); here it is up to the events and the live XML to tell.

        Raises:
            VirtmemError: as `attach`.
        """
        call = functools.partial(self._domains[uuid].detachDeviceAlias, alias, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        self._change("ask for the device", {"op": "detach", "scope": LIVE}, call)

    def config_with_secrets(self, uuid: str) -> str:
        """The persistent definition as it must be defined again: without SECURE, passwords would be lost.

        Raises:
            VirtmemError: as `attach`.
        """
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        return str(self._ask("read the domain's configuration", lambda: self._domains[uuid].XMLDesc(flags)))

    def define(self, xml: str) -> None:
        """Replaces a domain's persistent definition.

        Raises:
            VirtmemError: as `attach`.
        """
        call = functools.partial(self._connection.defineXMLFlags, xml, 0)
        self._change("redefine the domain", {"op": "redefine", "scope": CONFIG}, call)

    # --- events

    def watch(self, uuid: str) -> None:
        """From now on, `next_event` tells what happens to the domain's memory devices and its state.

        Raises:
            VirtmemError: `connection_lost`, `libvirt_error`.
        """
        self._watched.add(uuid)
        if self._callbacks:
            return
        # Once for all domains: four calls, instead of four for each domain and as many at the end. What other domains
        # do is dropped. Callbacks run in the loop's thread and only leave a note: an exception in one would be lost.
        callbacks: dict[str, t.Callable[..., None]] = {
            "DEVICE_REMOVED": self._on_device,
            "DEVICE_REMOVAL_FAILED": self._on_rejection,
            "LIFECYCLE": self._on_lifecycle,
            # Of libvirt 7.9. An older daemon does not know it, and polling finds the size just as well.
            "MEMORY_DEVICE_SIZE_CHANGE": self._on_size_change,
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

    def _note(self, domain: t.Any, alias: str | None = None, rejected: bool = False) -> None:
        uuid = domain.UUIDString()
        if uuid in self._watched:
            self._events.put(Event(uuid, alias, rejected))

    def _on_size_change(self, _connection: t.Any, domain: t.Any, alias: str, _size_kib: int, _opaque: t.Any) -> None:
        self._note(domain, alias)

    def _on_device(self, _connection: t.Any, domain: t.Any, alias: str, _opaque: t.Any) -> None:
        self._note(domain, alias)

    def _on_rejection(self, _connection: t.Any, domain: t.Any, alias: str, _opaque: t.Any) -> None:
        self._note(domain, alias, rejected=True)

    def _on_lifecycle(self, _connection: t.Any, domain: t.Any, _event: int, _detail: int, _opaque: t.Any) -> None:
        self._note(domain)

    def _on_close(self, _connection: t.Any, _reason: int, _opaque: t.Any) -> None:
        self._events.put(Event(None))

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

    def close(self) -> None:
        """Ends the connection. What is broken already can't be ended more."""
        self._deregister(self._callbacks)
        with contextlib.suppress(libvirt.libvirtError):
            self._connection.close()


# Events that an older libvirt has not, and that nobody depends on.
_LATER_EVENTS = frozenset({"MEMORY_DEVICE_SIZE_CHANGE"})


def _unknown_events() -> tuple[int, ...]:
    """The codes by which an older daemon, or a driver of another kind, says that it has no such event."""
    return (libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_NO_SUPPORT)


def _state(state: int, reason: int) -> tuple[str, int]:
    return (_STATES[state] if state < len(_STATES) else str(state)), reason


def _flag(scope: str) -> int:
    """One scope a call: LIVE and CONFIG in one would parse one element for two devices that may differ."""
    flags: dict[str, int] = {LIVE: libvirt.VIR_DOMAIN_AFFECT_LIVE, CONFIG: libvirt.VIR_DOMAIN_AFFECT_CONFIG}
    return flags[scope]


def _paused_by_errors() -> tuple[int, ...]:
    return (
        libvirt.VIR_DOMAIN_PAUSED_IOERROR,
        libvirt.VIR_DOMAIN_PAUSED_WATCHDOG,
        libvirt.VIR_DOMAIN_PAUSED_CRASHED,
        libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED,
    )


class Outcome(t.Generic[_T]):
    """What a call came to, its value or its error whatever that is, so that another thread can have it."""

    def __init__(self, call: t.Callable[[], _T]) -> None:
        """Makes the call."""
        self.error: BaseException | None = None
        with self:
            self._value = call()

    def __enter__(self) -> None:
        """Nothing is needed before."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        """Keeps the error: one that ended a thread would be printed there, and be missed by whoever waits for it."""
        self.error = error
        return True

    def get(self) -> _T:
        """The value, or the error raised once more."""
        if self.error is not None:
            raise self.error
        return self._value


def _in_time(call: t.Callable[[], _T], limit: float) -> _T:
    """The call's result, from a thread of its own: some calls never return, and Python hears no signal in them.

    A pool of threads is no way to do it: it waits for its threads when the process ends, and these may never end.

    Raises:
        TimeoutError: it took longer than `limit` seconds; the thread is left behind with it.
    """
    answer: queue.SimpleQueue[Outcome[_T]] = queue.SimpleQueue()
    threading.Thread(target=lambda: answer.put(Outcome(call)), name="libvirt-call", daemon=True).start()
    try:
        outcome = answer.get(timeout=limit)
    except queue.Empty:
        raise TimeoutError from None
    return outcome.get()


def _open(uri: str, read_only: bool) -> t.Any:
    """Opens a connection; a daemon may accept it and then say nothing."""
    try:
        return _in_time(lambda: libvirt.openReadOnly(uri) if read_only else libvirt.open(uri), _OPEN_TIMEOUT)
    except TimeoutError:
        raise VirtmemError(
            "connection_failed",
            f"{uri} did not answer within {_OPEN_TIMEOUT:g} s.",
            {"uri": uri, "timeout": _OPEN_TIMEOUT},
            "Check whether the daemon hangs, or whether the connection waits for a password or for a host key to be "
            "confirmed.",
        ) from None
    except libvirt.libvirtError as error:
        raise _connect_error(error, uri) from error


@contextlib.contextmanager
def connect(uri: str, read_only: bool = False, patience: float = 0.0) -> t.Iterator[Hypervisor]:
    """An open connection to a hypervisor, closed at the end.

    Args:
        uri: libvirt's URI.
        read_only: let libvirt refuse everything but reading.
        patience: how long a single change may take, in seconds, where that is more than a minute.

    Raises:
        VirtmemError: `connection_failed`, `access_denied`.
    """
    # Otherwise every error is printed to stderr as well.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    # For reading only too: without it, a connection that has fallen silent would never be given up.
    _EVENT_LOOP.start()
    connection = _open(uri, read_only)
    hypervisor = Hypervisor(connection, uri, max(patience, _CALL_TIMEOUT))
    try:
        hypervisor.notice_close()
        yield hypervisor
    finally:
        hypervisor.close()
