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

# How long to wait for the first newer report, in seconds; for each of the next ones a little longer.
FIRST_PAUSE = 0.03


@dataclass
class Witness:
    """What a job has from its guest."""

    word: Word = field(default_factory=Word)
    said: Statistics = field(default_factory=Statistics)  # the newest report
    listens: bool = False  # whether the wait lasts until the guest itself says that it can use its memory
    before: Account | None = None  # as it was before the first step
    polled: bool = False  # whether this task has switched the polling on
    heard: float = 0.0  # when the newest report came
    since: float | None = None  # when libvirt's sizes were as they must be
    said_since: Statistics | None = None  # the newest report at that time
    pause: float = FIRST_PAUSE
    due: float = math.inf  # when to look for a newer report

    def rewind(self) -> None:
        """libvirt's sizes are not, or no longer, as they must be."""
        self.since, self.said_since, self.due, self.pause = None, None, math.inf, FIRST_PAUSE
