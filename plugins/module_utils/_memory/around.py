# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What stands around the memory of a domain: settings that exclude a device, limit it, or give it another page size.

Values only, as one scope of the domain has them; `rules.around` judges by them. Sizes are in bytes.
"""

from __future__ import annotations

import typing as t


class HugePages(t.NamedTuple):
    """Huge pages of a domain: of which size (None for the host's default), and for which NUMA cells (None for all)."""

    size: int | None = None
    cells: tuple[int, ...] | None = None


class Around(t.NamedTuple):
    """The settings of a domain that its memory devices have to do with."""

    machine: str = ""
    emulated: bool = False  # whether QEMU interprets the guest, so that the host can be of another architecture
    has_uefi: bool = False
    address_bits: int | None = None  # of the guest's processor; None if they are the host's
    is_amd: bool = False  # whether it is one of AMD's, as far as its name tells
    huge_pages: tuple[HugePages, ...] = ()
    locked: bool = False
    launch_security: str | None = None  # its type
    hard_limit: int | None = None  # of all that QEMU may use of the host
    strict_nodes: t.Mapping[int, tuple[int, ...]] = {}  # cell -> the host nodes it is bound to
    passed_through: int = 0  # how many of the host's devices have access to the guest's memory

    @property
    def is_pc(self) -> bool:
        """Whether it is a machine with conventional PCI (i440fx), not a q35 one."""
        return self.machine.startswith("pc") and "q35" not in self.machine

    def describe(self) -> dict[str, t.Any]:
        """The settings as results show them: those that there are."""
        pages = [
            {"size": item.size, "cells": None if item.cells is None else list(item.cells)} for item in self.huge_pages
        ]
        return {
            "machine": self.machine or None,
            "address_bits": self.address_bits,
            "huge_pages": pages,
            "locked": self.locked,
            "launch_security": self.launch_security,
            "hard_limit": self.hard_limit,
            "strict_nodes": {str(cell): list(nodes) for cell, nodes in self.strict_nodes.items()},
            "passed_through": self.passed_through,
        }

    def page_of(self, cell: int | None) -> int | None:
        """The huge page that a device of this cell gets without `pagesize`; None for the ordinary page.

        libvirt takes the pages whose nodeset has the cell first, then those for all (qemuBuildMemoryBackendProps).
        """
        named = (pages for pages in self.huge_pages if pages.cells is not None and (cell or 0) in pages.cells)
        every = (pages for pages in self.huge_pages if pages.cells is None)
        return next((pages.size for pages in (*named, *every)), None)
