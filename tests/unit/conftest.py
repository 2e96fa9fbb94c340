# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of the unit tests: hypothesis looks at no clock and leaves nothing behind.

It tries $VIRTMEM_UNIT_EXAMPLES (100) examples a test: always the same ones, unless $VIRTMEM_SEED is `new`.
"""

from __future__ import annotations

import os
import tempfile

from hypothesis import configuration, settings

# A shared machine may be slow for a second, which says nothing about the code: no deadline. And no database in
# the checkout: an example that failed is printed with the lines that repeat it.
configuration.set_hypothesis_home_dir(tempfile.mkdtemp(prefix="hypothesis-"))
settings.register_profile(
    "unit",
    deadline=None,
    database=None,
    print_blob=True,
    max_examples=int(os.environ.get("VIRTMEM_UNIT_EXAMPLES", "100")),
    derandomize=os.environ.get("VIRTMEM_SEED") != "new",
)
settings.load_profile("unit")
