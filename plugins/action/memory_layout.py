# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module of this name, run as ever; while it waits, the person at the terminal sees how far the guests are."""

from __future__ import annotations

from ..plugin_utils import _progress


class ActionModule(_progress.ActionModule):
    """What Ansible looks for."""
