# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Calls of libvirt: made in time, and their errors as the project's own.

If an error comes from libvirt, its code decides, never its text: messages are translated to the daemon's language.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import traceback
import typing as t

from .._memory.errors import VirtmemError

try:
    import libvirt
except ImportError:
    LIBVIRT_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    LIBVIRT_IMPORT_ERROR = None

_T = t.TypeVar("_T")

# The code of what QEMU itself refused (VIR_ERR_INTERNAL_ERROR).
NOT_BY_QEMU = 1


def translate(error: t.Any, doing: str, details: t.Mapping[str, t.Any] | None = None) -> VirtmemError:
    """libvirt's error as the project's own; `doing` completes the sentence `libvirt could not ...`."""
    code = error.get_error_code()
    error_code, hint = {
        libvirt.VIR_ERR_NO_DOMAIN: ("domain_vanished", "The domain was undefined meanwhile."),
        libvirt.VIR_ERR_OPERATION_DENIED: ("access_denied", ACCESS_HINT),
        libvirt.VIR_ERR_AUTH_FAILED: ("access_denied", ACCESS_HINT),
        libvirt.VIR_ERR_AUTH_CANCELLED: ("access_denied", ACCESS_HINT),
        libvirt.VIR_ERR_AUTH_UNAVAILABLE: ("access_denied", ACCESS_HINT),
        libvirt.VIR_ERR_ACCESS_DENIED: ("access_denied", ACCESS_HINT),
        libvirt.VIR_ERR_OPERATION_TIMEOUT: (
            "domain_busy",
            "Wait for the other job of the domain (virsh domjobinfo) and run the task again.",
        ),
    }.get(code, ("libvirt_error", "Look for the cause in libvirt's message and the daemon's log."))
    message = error.get_error_message() or str(error)
    known = {"libvirt_code": code, "libvirt_domain": error.get_error_domain(), "libvirt_message": message}
    return VirtmemError(error_code, f"libvirt could not {doing}: {message}", known | dict(details or {}), hint)


ACCESS_HINT = (
    "Connect with the right to change domains: not to a read-only socket, and as root, as a member of the group "
    "libvirt, or with a polkit rule for org.libvirt.unix.manage."
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


class _Caller:
    """A thread that makes one call after the other: to begin a thread takes as long as to read a domain.

    A pool of concurrent.futures is no way to do it: it waits for its threads when the process ends, and a call may
    never end.
    """

    def __init__(self) -> None:
        """The thread waits for its first call."""
        self._calls: queue.SimpleQueue[t.Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._make_calls, name="libvirt-call", daemon=True).start()

    def _make_calls(self) -> None:
        for call in iter(self._calls.get, None):
            call()
            del call  # it holds a domain, and with it a connection

    def make(self, call: t.Callable[[], _T], limit: float) -> Outcome[_T] | None:
        """What the call came to; None if it took longer, and the thread is left behind with it, to end after it."""
        answer: queue.SimpleQueue[Outcome[_T]] = queue.SimpleQueue()
        self._calls.put(lambda: answer.put(Outcome(call)))
        try:
            return answer.get(timeout=limit)
        except queue.Empty:
            self._calls.put(None)
            return None


_idle: list[_Caller] = []


def in_time(call: t.Callable[[], _T], limit: float) -> _T:
    """The call's result, from another thread: some calls never return, and Python hears no signal in them.

    Raises:
        TimeoutError: it took longer than `limit` seconds.
    """
    try:
        caller = _idle.pop()
    except IndexError:
        caller = _Caller()
    outcome = caller.make(call, limit)
    if outcome is None:
        raise TimeoutError
    _idle.append(caller)
    return outcome.get()


class Calls:
    """An open connection, and the calls over it."""

    def __init__(self, connection: t.Any, uri: str, limit: float = 60.0) -> None:
        """Takes a connection of libvirt's over.

        Args:
            connection: a virConnect.
            uri: what it was opened with.
            limit: of a single call, in seconds.
        """
        self._connection = connection
        self._uri = uri
        self._limit = limit
        self._domains: dict[str, t.Any] = {}  # those that were found, by UUID

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
            raise translate(error, doing, details) from error

    def _change(self, doing: str, details: t.Mapping[str, t.Any], call: t.Callable[[], t.Any]) -> None:
        """A call that changes something. It stops waiting after a while; whether anything changed is unknown then."""
        try:
            with self._translated(doing, details):
                in_time(call, self._limit)
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
                return in_time(call, self._limit)
        except TimeoutError:
            raise VirtmemError(
                "domain_busy",
                f"libvirt could not {doing} within {self._limit:g} s, and gave no reason.",
                {"timeout": self._limit},
                "Another job holds the domain, or the storage of its managed-save image does not answer. Look at it "
                "(virsh domjobinfo, virsh managedsave-dumpxml), and run the task again.",
            ) from None

    def broken(self) -> bool:
        """Whether the connection can no longer be used."""
        try:
            return not self._connection.isAlive()
        except libvirt.libvirtError:
            return True
