# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all generating tests have in common: the seed, and how hypothesis is set.

The seed is $VIRTMEM_SEED (1); `new` is another one each time, and stands at the end of the run.
"""

from __future__ import annotations

import os
import random
import tempfile
import typing as t

from hypothesis import configuration, settings

_ASKED = os.environ.get("VIRTMEM_SEED", "1")
# Always the same one, unless asked for: nobody's change is to fail by bad luck.
NEW = _ASKED == "new"
SEED = random.randrange(2**32) if NEW else int(_ASKED)  # noqa: S311 - no secret
_HOME = tempfile.TemporaryDirectory(prefix="hypothesis-")


def set_hypothesis(examples: int, **more: t.Any) -> None:
    """Has hypothesis look at no clock, leave nothing behind, and try so many examples a test.

    A shared machine may be slow for a second, which says nothing about the code: no deadline. And no database in the
    checkout: an example that failed is printed with the lines that repeat it.
    """
    configuration.set_hypothesis_home_dir(_HOME.name)
    settings.register_profile("ours", deadline=None, database=None, print_blob=True, max_examples=examples, **more)
    settings.load_profile("ours")
