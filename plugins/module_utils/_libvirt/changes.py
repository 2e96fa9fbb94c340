# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What changes a domain: one call, of one scope, that ends in time or says that it is unknown whether it was made."""

from __future__ import annotations

import contextlib
import functools

from .._memory.device import CONFIG, LIVE
from .calls import Calls

with contextlib.suppress(ImportError):  # calls.py reports it
    import libvirt


class Changes(Calls):
    """A connection over which domains are changed."""

    def attach(self, uuid: str, scope: str, xml: str) -> None:
        """Attaches a device in one scope.

        Raises:
            VirtmemError: as `read`, and `access_denied`.
        """
        call = functools.partial(self._domains[uuid].attachDeviceFlags, xml, _flag(scope))
        self._change(f"attach the device ({scope})", {"op": "attach", "scope": scope}, call)

    def update(self, uuid: str, scope: str, xml: str) -> None:
        """Updates a device in one scope, from the element that was read in that scope.

        Raises:
            VirtmemError: as `attach`.
        """
        call = functools.partial(self._domains[uuid].updateDeviceFlags, xml, _flag(scope))
        self._change(f"update the device ({scope})", {"op": "update", "scope": scope}, call)

    def detach(self, uuid: str, scope: str, xml: str) -> None:
        """Detaches a device in one scope, by the element that was read in that scope.

        Raises:
            VirtmemError: as `attach`.
        """
        call = functools.partial(self._domains[uuid].detachDeviceFlags, xml, _flag(scope))
        self._change(f"detach the device ({scope})", {"op": "detach", "scope": scope}, call)

    def unplug(self, uuid: str, alias: str) -> None:
        """Asks the running guest to give a device back, and returns at once.

        The call that takes an element instead blocks for 5 s, and then says that all is well even if nothing
        happened (9.0 to 11.3); here it is up to the events and the live XML to tell.

        Raises:
            VirtmemError: as `attach`.
        """
        call = functools.partial(self._domains[uuid].detachDeviceAlias, alias, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        self._change("request the device's removal", {"op": "detach", "scope": LIVE}, call)

    def poll_statistics(self, uuid: str, scope: str, seconds: int) -> None:
        """Has QEMU ask the guest's balloon driver so often how much memory it has, and at once; 0 ends it.

        It is no part of the guest, and takes no restart: the running domain's XML has a `<stats>` more or less.

        Raises:
            VirtmemError: as `attach`.
        """
        call = functools.partial(self._domains[uuid].setMemoryStatsPeriod, seconds, _flag(scope))
        self._change("set how often the balloon's statistics are polled", {"op": "statistics", "scope": scope}, call)

    def define(self, xml: str) -> None:
        """Replaces a domain's persistent definition.

        Raises:
            VirtmemError: as `attach`.
        """
        call = functools.partial(self._connection.defineXMLFlags, xml, 0)
        self._change("redefine the domain", {"op": "redefine", "scope": CONFIG}, call)


def _flag(scope: str) -> int:
    """One scope a call: LIVE and CONFIG in one would parse one element for two devices that may differ."""
    flags: dict[str, int] = {LIVE: libvirt.VIR_DOMAIN_AFFECT_LIVE, CONFIG: libvirt.VIR_DOMAIN_AFFECT_CONFIG}
    return flags[scope]
