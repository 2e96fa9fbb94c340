# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Reads many domains in one pass; one that does not answer does not hold up the others.

Since libvirt 11.0 the XML of a domain waits for whatever job holds the domain, half a minute if need be. So the
reading is done by a thread, and when it is stuck another one goes on with the rest.
"""

from __future__ import annotations

import fnmatch
import queue
import threading
import time
import typing as t
from dataclasses import dataclass

from ._libvirt import Hypervisor, Listed, Reading
from ._memory.errors import VirtmemError

# How long a domain may take before the rest goes on without it, in seconds. A usual answer takes a millisecond.
_STUCK_AFTER = 0.5
_PATTERN = frozenset("*?[")

Answer = t.Union[Reading, VirtmemError, None]
Clock = t.Callable[[], float]


def choose(listed: t.Sequence[Listed], wanted: t.Sequence[str] | None, uri: str) -> list[Listed]:
    """The domains that are meant by names, UUIDs and patterns; all of them where nothing is given.

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
                raise VirtmemError(
                    "domain_not_found",
                    f"domains: there is no domain {text} at {uri}.",
                    {"option": "domains", "value": text, "uri": uri},
                    "Check the name with virsh list --all; a pattern such as web* may match nothing.",
                )
        chosen.update({item.uuid: item for item in found})
    return [item for item in listed if item.uuid in chosen]


@dataclass
class _Reader:
    """A thread that reads one domain after the other until it is told that it has been overtaken."""

    hypervisor: Hypervisor
    waiting: t.Iterator[tuple[int, Listed]]
    lock: threading.Lock
    answers: queue.SimpleQueue[tuple[int, Answer]]
    overtaken: bool = False
    reading: int | None = None
    since: float = 0.0

    def start(self, clock: Clock) -> _Reader:
        """Begins; the thread ends with the last domain, or with the one that it was overtaken at."""
        threading.Thread(target=self._run, args=(clock,), name="libvirt-reader", daemon=True).start()
        return self

    def _run(self, clock: Clock) -> None:
        while not self.overtaken:
            with self.lock:
                index, listed = next(self.waiting, (-1, None))
                self.reading, self.since = index, clock()
            if listed is None:
                return
            self.answers.put((index, self._read(listed)))

    def _read(self, listed: Listed) -> Answer:
        try:
            return self.hypervisor.read_listed(listed)
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
    hypervisor: Hypervisor, listed: t.Sequence[Listed], timeout: float, clock: Clock = time.monotonic
) -> t.Iterator[tuple[Listed, Answer]]:
    """Each domain with what was read of it, in the order of the list.

    A domain that is gone meanwhile has None, one that can't be read its error.

    Args:
        hypervisor: the connection.
        listed: the domains.
        timeout: how long to wait for a domain that does not answer, in seconds.
        clock: tells the time.
    """
    answers: queue.SimpleQueue[tuple[int, Answer]] = queue.SimpleQueue()
    waiting, lock = iter(enumerate(listed)), threading.Lock()
    reader = _Reader(hypervisor, waiting, lock, answers).start(clock)
    stuck: dict[int, float] = {}  # which domain, since when
    known: dict[int, Answer] = {}
    following = 0  # the next to be handed out
    while following < len(listed):
        if following in known:
            yield listed[following], known.pop(following)
            following += 1
            continue
        try:
            index, answer = answers.get(timeout=_STUCK_AFTER / 2)
            known[index] = answer
            stuck.pop(index, None)
        except queue.Empty:
            now = clock()
            with lock:
                current, since = reader.reading, reader.since
            late = current is not None and current >= 0 and current not in known and now - since >= _STUCK_AFTER
            if current is not None and late and current not in stuck:
                stuck[current] = since
                reader.overtaken = True
                reader = _Reader(hypervisor, waiting, lock, answers).start(clock)
            for index in [index for index, since in stuck.items() if now - since >= timeout]:
                del stuck[index]
                known.setdefault(index, _busy(listed[index], timeout))
