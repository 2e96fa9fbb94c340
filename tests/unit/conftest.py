# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much the unit tests generate: $VIRTMEM_UNIT_EXAMPLES (100) a test, the same unless $VIRTMEM_SEED is `new`."""

from __future__ import annotations

import os

from ansible_collections.virtmem.libvirt.tests import generating

generating.set_hypothesis(int(os.environ.get("VIRTMEM_UNIT_EXAMPLES", "100")), derandomize=not generating.NEW)
