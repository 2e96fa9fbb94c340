# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The hypervisor: connect to it, and read what it has. With `changes` and `events` all that is asked of libvirt.

The folder is the only importer of libvirt. It moves text and numbers and decides nothing.
"""

from __future__ import annotations

import contextlib
import functools
import re
import threading
import time
import typing as t

from .._memory.device import CONFIG, LIVE, SCOPES, HostMemory, Statistics
from .._memory.errors import VirtmemError, did_you_mean
from .._memory.size import KIB
from .._memory.support import Versions
from .._memory.xml import reading
from . import opening
from .calls import Outcome
from .changes import Changes
from .events import EVENT_LOOP, Events

with contextlib.suppress(ImportError):  # calls.py reports it
    import libvirt

_UUID = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}", re.ASCII)

# virDomainState, by libvirt's own names.
_STATES = ("nostate", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended")

# How long a single call may take, in seconds. libvirt itself stops waiting after 30 s if another job holds the domain,
# but waits for ever for a QEMU that has stopped answering.
_CALL_TIMEOUT = 60.0


class Reading(t.NamedTuple):
    """A domain as libvirt describes it, undecoded."""

    name: str
    uuid: str
    state: str
    persistent: bool
    error_paused: bool
    live_xml: str | None
    config_xml: str | None
    saved_xml: str | None = None  # of the managed-save image, if there is one
    guest: Statistics | None = None  # what the running guest says of itself, if that was asked for


class Listed(t.NamedTuple):
    """A domain as the list of all domains tells of it."""

    name: str
    uuid: str
    state: str
    persistent: bool
    active: bool
    managed_save: bool
    handle: t.Any


class Hypervisor(Changes, Events):
    """An open connection, and the domains that were read through it."""

    def __init__(self, connection: t.Any, uri: str, limit: float = 60.0) -> None:
        """Takes a connection of libvirt's over; see `Calls`."""
        super().__init__(connection, uri, limit)
        self._persistent: dict[str, bool] = {}

    def versions(self) -> Versions:
        """The versions of the daemon and of its hypervisor.

        Raises:
            VirtmemError: `connection_lost`, `libvirt_error`; `unsupported` if the daemon is too old.
        """
        versions = self._ask(
            "report its version",
            lambda: Versions(
                libvirt=self._connection.getLibVersion(),
                hypervisor=self._hypervisor_version(),
                driver=self._connection.getType(),
            ),
        )
        opening.refuse_old(f"libvirt's daemon at {self._uri} is", versions.libvirt)
        return versions

    def _hypervisor_version(self) -> int:
        """libvirt asks the QEMU of the host's own architecture, which need not be there."""
        try:
            version: int = self._connection.getVersion()
        except libvirt.libvirtError:
            newest = reading.newest_machine(self._connection.getCapabilities())
            if newest is None:
                raise
            return newest
        return version

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
        asked = did_you_mean(domain, self._ask("list the domains", self._names))
        raise VirtmemError(
            "domain_not_found",
            f"domain: there is no domain {domain} at {self._uri}.",
            {"option": "domain", "value": domain, "uri": self._uri},
            f"{asked} Check the name with virsh list --all, and whether uri is the hypervisor that has it.".lstrip(),
        )

    def _names(self) -> list[str]:
        return [domain.name() for domain in self._connection.listAllDomains(0)]

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

    def forget(self, uuid: str) -> None:
        """Lets go of a domain that was found or read."""
        self._domains.pop(uuid, None)
        self._persistent.pop(uuid, None)

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

    def read_listed(self, listed: Listed, guest: bool = False) -> Reading | None:
        """What there is to read of a listed domain, None if it is gone.

        Args:
            listed: the domain.
            guest: whether its guest is asked too, which is a call more and goes as far as QEMU.

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
                    guest=_statistics(domain) if guest and listed.active else None,
                )
        except VirtmemError as error:
            if error.error_code == "domain_vanished":
                return None
            raise

    def statistics(self, uuid: str) -> Statistics:
        """What the running guest said of itself last; empty if there is nothing to be had from it.

        Raises:
            VirtmemError: `connection_lost`, `domain_busy`, `libvirt_error`.
        """
        return self._ask("read the guest's statistics", lambda: _statistics(self._domains[uuid]))

    def capabilities(self) -> str:
        """The XML that describes the host.

        Raises:
            VirtmemError: `connection_lost`, `libvirt_error`.
        """
        return str(self._ask("describe the host", self._connection.getCapabilities))

    def name(self) -> str:
        """The hypervisor's own host name.

        Raises:
            VirtmemError: `connection_lost`, `libvirt_error`.
        """
        return str(self._ask("tell its name", self._connection.getHostname))

    def wake_calls(self) -> None:
        """Has calls that wait beside one that hangs sent to the daemon now.

        In a client before 12.8, a call can lie unsent until the next keep-alive, five seconds later, while another
        thread waits for an answer that does not come; a further call takes it along. Tried with 9.0 and 12.8.
        """
        threading.Thread(
            target=lambda: Outcome(self._connection.numOfDomains), name="libvirt-wake", daemon=True
        ).start()

    def host_memory(self, nodes: t.Iterable[int] = (), pages: t.Sequence[int] = ()) -> HostMemory:
        """The memory of the hypervisor's machine.

        Args:
            nodes: its NUMA nodes, if they are to be told apart.
            pages: the sizes of the pages, in bytes, whose pools are asked about; with `nodes`.

        Raises:
            VirtmemError: `connection_lost`, `libvirt_error`.
        """
        return self._ask("report the host's memory", lambda: self._host_memory(sorted(nodes), pages))

    def _host_memory(self, nodes: t.Sequence[int], pages: t.Sequence[int]) -> HostMemory:
        every = self._connection.getMemoryStats(-1, 0)  # VIR_NODE_MEMORY_STATS_ALL_CELLS
        # libvirt 12.3 has MemAvailable; before, what is cached is as good as free.
        spare = every.get("available", sum(every.get(name, 0) for name in ("free", "buffers", "cached")))
        each = {node: self._connection.getMemoryStats(node, 0) for node in nodes}
        sizes = [page // KIB for page in pages]
        free: dict[int, dict[int, int]] = {}
        for node in nodes if sizes else ():
            found = self._connection.getFreePages(sizes, node, 1, 0)
            free[node] = {size * KIB: count for size, count in found.get(node, {}).items()}
        return HostMemory(
            total=every["total"] * KIB,
            available=spare * KIB,
            nodes={node: (said.get("total", 0) * KIB, said.get("free", 0) * KIB) for node, said in each.items()},
            free_pages=free,
        )

    def domain_capabilities(self) -> str:
        """The XML that describes what domains can have here.

        Raises:
            VirtmemError: `access_denied` on a read-only connection, `connection_lost`, `libvirt_error`.
        """
        call = functools.partial(self._connection.getDomainCapabilities, None, None, None, None, 0)
        return str(self._ask("describe what domains can have", call))

    def config_with_secrets(self, uuid: str) -> str:
        """The persistent definition as it must be defined again: without SECURE, passwords would be lost.

        Raises:
            VirtmemError: as `attach`.
        """
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        return str(self._ask("read the domain's configuration", lambda: self._domains[uuid].XMLDesc(flags)))

    def close(self) -> None:
        """Ends the connection. What is broken already can't be ended more."""
        self.stop_listening()
        with contextlib.suppress(libvirt.libvirtError):
            self._connection.close()


def _statistics(domain: t.Any) -> Statistics:
    """The statistics of a domain's balloon; empty if it has stopped, or its driver has no such thing."""
    try:
        said: dict[str, int] = domain.memoryStats()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_SUPPORT):
            raise
        return Statistics()

    def size(name: str) -> int | None:
        return said[name] * KIB if name in said else None

    updated = said.get("last_update", 0)
    return Statistics(
        total=size("available"),
        usable=size("usable"),
        balloon=size("actual"),
        updated=updated,
        minor_faults=said.get("minor_fault"),
        age=max(time.time() - updated, 0.0) if updated else None,
    )


def _state(state: int, reason: int) -> tuple[str, int]:
    return (_STATES[state] if state < len(_STATES) else str(state)), reason


def _paused_by_errors() -> tuple[int, ...]:
    return (
        libvirt.VIR_DOMAIN_PAUSED_IOERROR,
        libvirt.VIR_DOMAIN_PAUSED_WATCHDOG,
        libvirt.VIR_DOMAIN_PAUSED_CRASHED,
        libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED,
    )


@contextlib.contextmanager
def connect(uri: str, read_only: bool = False, patience: float = 0.0) -> t.Iterator[Hypervisor]:
    """An open connection to a hypervisor, closed at the end.

    Args:
        uri: libvirt's URI.
        read_only: let libvirt refuse everything but reading.
        patience: how long a single change may take, in seconds, if that is more than a minute.

    Raises:
        VirtmemError: `connection_failed`, `access_denied`; `unsupported` if the client's library is too old.
    """
    opening.refuse_old("libvirt's client library on the managed node is", libvirt.getVersion())
    # Otherwise every error is printed to stderr as well.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    # For reading only too: without it, a connection that has fallen silent would never count as broken.
    EVENT_LOOP.start()
    connection = opening.open_in_time(uri, read_only)
    hypervisor = Hypervisor(connection, uri, max(patience, _CALL_TIMEOUT))
    try:
        hypervisor.notice_close()
        yield hypervisor
    finally:
        hypervisor.close()
