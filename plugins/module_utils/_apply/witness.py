# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What a job has from its guest: the newest report, and how long it has been waited for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .._memory.device import Statistics
from .._memory.guest import Account, Word

# How often a task itself has the statistics polled, in seconds. A report is there 40 ms after the first poll.
PERIOD = 1
# How long to wait for the first newer report, in seconds; for each of the next ones a little longer.
FIRST_PAUSE = 0.03


@dataclass
class Witness:
    """What a job has from its guest."""

    word: Word = field(default_factory=Word)
    said: Statistics = field(default_factory=Statistics)  # the newest report
    listens: bool = False  # whether the wait lasts until the guest itself says that it can use its memory
    before: Account | None = None  # as it was before the first step
    restores: int | None = None  # the period that this task has replaced by its own, 0 for none; None if it has not
    left_on: str | None = None  # why that could not be taken back in the end
    heard: float = 0.0  # when the newest report came
    since: float | None = None  # when libvirt's sizes were as they must be
    said_since: Statistics | None = None  # the newest report at that time
    pause: float = FIRST_PAUSE
    due: float = math.inf  # when to look for a newer report

    @property
    def polled(self) -> bool:
        """Whether this task itself has the statistics polled."""
        return self.restores is not None

    @property
    def is_outdated(self) -> bool:
        """Whether there is no report since libvirt's sizes were as they must be."""
        return self.since is None or self.said == self.said_since

    def rewind(self) -> None:
        """libvirt's sizes are not, or no longer, as they must be."""
        self.since, self.said_since, self.due, self.pause = None, None, math.inf, FIRST_PAUSE
