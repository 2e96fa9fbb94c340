# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Reads many domains in one pass; one that does not answer does not hold up the others.

Since libvirt 11.0 the XML of a domain waits for whatever job holds the domain, half a minute if need be. So the
reading is done by threads, and when one is stuck another one goes on in its place. A few read at the same time, so
that the way to the daemon and back is not waited for at every domain.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import queue
import threading
import time
import typing as t

from ._libvirt.calls import Outcome
from ._libvirt.connection import Hypervisor, Listed, Reading
from ._memory.errors import VirtmemError, did_you_mean

# How long a domain may take in all, in seconds, unless someone says otherwise.
TIMEOUT = 10.0
# How long a domain may take before the rest goes on without it, in seconds. A usual answer takes a millisecond.
_STUCK_AFTER = 0.5
# How many are read at the same time, and how many at most, those that are stuck included: a daemon works on five calls
# of one client (max_client_requests in libvirtd.conf) and lets the next ones wait.
_READERS, _MOST_READERS = 3, 5
_PATTERN = frozenset("*?[")

Answer = t.Union[Reading, VirtmemError, None]
Clock = t.Callable[[], float]


def choose(listed: t.Sequence[Listed], wanted: t.Sequence[str] | None, uri: str) -> list[Listed]:
    """The domains that are meant by names, UUIDs and patterns; all of them if nothing is given.

    A pattern may match nothing, a name or UUID must exist.

    Raises:
        VirtmemError: `domain_not_found`.
    """
    if wanted is None:
        return list(listed)
    chosen: dict[str, Listed] = {}
    for text in wanted:
        found = [item for item in listed if text in (item.name, item.uuid)]
        if not found and _PATTERN.intersection(text):
            found = [item for item in listed if fnmatch.fnmatchcase(item.name, text)]
        elif not found:
            found = [item for item in listed if text.replace("-", "").lower() == item.uuid.replace("-", "")]
            if not found:
                asked = did_you_mean(text, (item.name for item in listed))
                raise VirtmemError(
                    "domain_not_found",
                    f"domains: there is no domain {text} at {uri}.",
                    {"option": "domains", "value": text, "uri": uri},
                    f"{asked} Check the name with virsh list --all; a pattern such as web* may match nothing.".lstrip(),
                )
        chosen.update({item.uuid: item for item in found})
    return [item for item in listed if item.uuid in chosen]


class _Survey:
    """The threads that read, what is left to be read, and the answers."""

    def __init__(self, hypervisor: Hypervisor, listed: t.Sequence[Listed], clock: Clock, guest: bool) -> None:
        self.answers: queue.SimpleQueue[tuple[int, Outcome[Answer]]] = queue.SimpleQueue()
        self._hypervisor = hypervisor
        self._clock = clock
        self._guest = guest
        self._lock = threading.Lock()
        self._left = iter(enumerate(listed))
        self._reading: dict[int, float] = {}  # which domain, since when
        self._readers = 0

    def reading(self) -> dict[int, float]:
        """The domains that are being read, and for how long already."""
        now = self._clock()
        with self._lock:
            return {index: now - since for index, since in self._reading.items()}

    def keep_reading(self, stuck: int) -> None:
        """Starts readers, as many as it takes to go on beside those that are stuck."""
        while self._readers < min(_READERS + stuck, _MOST_READERS):
            self._readers += 1
            threading.Thread(target=self._read_on, name="libvirt-reader", daemon=True).start()

    def _read_on(self) -> None:
        while True:
            with self._lock:
                index, listed = next(self._left, (-1, None))
                if listed is None:
                    return
                self._reading[index] = self._clock()
            answer: Outcome[Answer] = Outcome(functools.partial(self._read, listed))
            with self._lock:
                del self._reading[index]
            self.answers.put((index, answer))

    def _read(self, listed: Listed) -> Answer:
        try:
            return self._hypervisor.read_listed(listed, self._guest)
        except VirtmemError as error:
            return error


def _busy(listed: Listed, timeout: float) -> VirtmemError:
    return VirtmemError(
        "domain_busy",
        f"Domain {listed.name} did not answer within {timeout:g} s; another job holds it.",
        {"domain": listed.name, "timeout": timeout},
        "Wait for the other job (virsh domjobinfo), or give a larger timeout.",
    )


def read_all(
    hypervisor: Hypervisor,
    listed: t.Sequence[Listed],
    timeout: float,
    clock: Clock = time.monotonic,
    guest: bool = False,
) -> t.Iterator[tuple[Listed, Answer]]:
    """Each domain with what was read of it, in the order of the list.

    A domain that is gone meanwhile has None, one that can't be read its error.

    Args:
        hypervisor: the connection.
        listed: the domains.
        timeout: how long to wait for a domain that does not answer, in seconds.
        clock: tells the time.
        guest: whether the guests are asked too how much memory they have.
    """
    survey = _Survey(hypervisor, listed, clock, guest)
    survey.keep_reading(stuck=0)
    known: dict[int, Answer] = {}
    looked = clock()
    for following, item in enumerate(listed):
        while following not in known:
            with contextlib.suppress(queue.Empty):
                index, answer = survey.answers.get(timeout=_STUCK_AFTER / 2)
                known.setdefault(index, answer.get())
            if clock() - looked < _STUCK_AFTER / 2:
                continue
            looked = clock()
            reading = survey.reading()
            stuck = sum(since >= _STUCK_AFTER for since in reading.values())
            survey.keep_reading(stuck)
            if stuck:
                hypervisor.wake_calls()
            for index, since in reading.items():
                if since >= max(timeout, _STUCK_AFTER):
                    known.setdefault(index, _busy(listed[index], timeout))
        yield item, known.pop(following)
