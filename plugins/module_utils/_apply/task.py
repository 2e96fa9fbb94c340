# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""A task as it runs: whom it asks, how long it waits, and what time it is. Every room of `_apply` has it from here."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._libvirt.connection import Hypervisor
from .._memory import guest
from .._memory.size import EXACT, Tolerance
from .._observe import Observer
from .job import Running

Clock = t.Callable[[], float]


def _never() -> bool:
    return False


class Patience(t.NamedTuple):
    """How long and how closely a wait looks: seconds, seconds between two polls, and what is near enough."""

    wait: bool = True
    timeout: float = 120.0
    sleep: float = 1.0
    tolerance: Tolerance = EXACT
    interrupted: t.Callable[[], bool] = _never  # whether someone wants the task to end
    verify: str = guest.AUTO  # whether the guest's own word counts
    tells: t.Callable[[t.Mapping[str, t.Any]], None] | None = None  # is told how far the guests are, if anybody listens


@dataclass
class Task:
    """One task over all its domains."""

    observer: Observer  # what it has read for the plans is not decoded again before the first step
    jobs: t.Sequence[Running]
    patience: Patience
    clock: Clock  # seconds, on any clock that does not run backwards
    began: float = field(init=False)
    deadline: float = field(init=False)
    tells_at: float = field(init=False)  # when to tell next how far the guests are

    def __post_init__(self) -> None:
        """The time begins to run."""
        self.began = self.tells_at = self.clock()
        self.deadline = self.began + self.patience.timeout

    @property
    def hypervisor(self) -> Hypervisor:
        """Whom it asks."""
        return self.observer.hypervisor
