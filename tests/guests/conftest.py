# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the tests find the lab: the checkout's, where they run from a copy, since it keeps what took long to make."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_LAB = os.environ.get("VIRTMEM_LAB_PY")
sys.path.insert(0, str(Path(_LAB).parent if _LAB else Path(__file__).parent.parent / "lab"))
