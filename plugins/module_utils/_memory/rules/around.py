# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What the settings around the memory devices exclude or limit. Each refusal names the element that is in the way."""

from __future__ import annotations

import typing as t

from .. import models
from ..device import Definition, Device
from ..errors import VirtmemError
from ..size import GIB, MIB, align_down, align_up, show

_FOUR_GIB = 4 * GIB
# AMD's processors have the end of 40 bits reserved, and QEMU puts what does not fit before it behind the end.
_AMD_RESERVED, _AMD_BITS = 1012 * GIB, 40


class _Chipset(t.NamedTuple):
    """How a machine of x86 lays its guest's memory out (pc_memory_init and its callers), in bytes."""

    split_at: int  # less boot memory than this lies below 4 GiB as a whole
    below: int  # of as much or more, only this does
    hole: int  # for PCI devices, behind everything else


_Q35 = _Chipset(2816 * MIB, 2 * GIB, 32 * GIB)
_PC = _Chipset(3584 * MIB, 3 * GIB, 2 * GIB)


def _range(definition: Definition, limit: int, slots: int) -> tuple[int, int, int]:
    """Where the range for memory devices begins and ends, and where the guest's addresses end.

    Tried with QEMU 7.2, whose messages have the same numbers.
    """
    chipset = _PC if definition.around.is_pc else _Q35
    above = definition.base - chipset.below if definition.base >= chipset.split_at else 0
    begin = align_up(_FOUR_GIB + above, GIB)
    # QEMU has 1 GiB to spare for each slot, so that huge pages can be aligned.
    end = begin + limit - definition.base + slots * GIB
    return begin, end, align_up(end, GIB) + chipset.hole


def page_of(definition: Definition, values: t.Mapping[str, t.Any]) -> int:
    """The page that the host gives this device's memory in, in bytes; 0 for the ordinary one.

    `pagesize` of the device says so, or the huge pages of the domain.
    """
    page: int | None = values.get("pagesize")
    return (definition.around.page_of(values.get("node")) if page is None else page) or 0


def _excluded(element: str, model: str, scope_name: str, why: str, instead: str) -> VirtmemError:
    return VirtmemError(
        "conflicting_setting",
        f"A device of model {model} can't be had together with {element}, which the {scope_name} definition of the "
        f"domain has: {why}",
        {"element": element, "model": model, "scope": scope_name},
        instead,
    )


def check_settings(definition: Definition, model: str, scope_name: str) -> VirtmemError | None:
    """What QEMU does not do beside a device of this model: it discards what a virtio-mem device has not plugged."""
    around = definition.around
    if not models.facts(model).resizable:
        return None
    if around.locked:
        return _excluded(
            "<memoryBacking><locked/>",
            model,
            scope_name,
            "QEMU refuses to start with both (incompatible with mlock).",
            "Use a dimm, which is locked as a whole, or take <locked/> out of the domain and restart it.",
        )
    if around.launch_security is not None:
        return _excluded(
            f"<launchSecurity type='{around.launch_security}'>",
            model,
            scope_name,
            "memory of a confidential guest can't be discarded.",
            "Give the guest all its memory at boot, or leave launchSecurity out.",
        )
    return None


def check_place(definition: Definition, values: t.Mapping[str, t.Any], scope_name: str) -> VirtmemError | None:
    """A device's base lies in the range for devices, which is above all boot memory."""
    base: int | None = values.get("base")
    if base is None or definition.max_memory is None or definition.arch != "x86_64":
        return None
    begin, end, _addresses = _range(definition, definition.max_memory, definition.slots)
    if begin <= base and base + values["size"] <= end:
        return None
    return VirtmemError(
        "invalid_option",
        f"base: {base:#x} to {base + values['size']:#x} is not within {begin:#x} to {end:#x}, the range for memory "
        f"devices in the {scope_name} definition; it is above the boot memory of {show(definition.base)}.",
        {"option": "base", "value": base, "scope": scope_name, "begin": begin, "end": end},
        f"Leave it out, and QEMU chooses a place, or give {begin:#x} or more.",
    )


def held(device: Device | None) -> int:
    """The bytes of the host that a device may use."""
    if device is None:
        return 0
    return (device.requested or 0) if models.facts(device.model).resizable else device.size


def needed(definition: Definition) -> int:
    """What QEMU may have to hold for the guest, in bytes: boot memory, whole devices, and what is requested."""
    return definition.base + sum(held(item) for item in definition.devices if models.facts(item.model).is_memory)


def check_limit(before: Definition, after: Definition, scope_name: str) -> VirtmemError | None:
    """A guest that may use more than `<hard_limit>` is killed by the host as soon as it does."""
    limit, asked = after.around.hard_limit, needed(after)
    if limit is None or asked <= limit or asked <= needed(before):
        return None
    return VirtmemError(
        "conflicting_setting",
        f"The guest would have {show(asked)}, more than the hard_limit of {show(limit)} that <memtune> sets in the "
        f"{scope_name} definition: the host kills it as soon as it uses that much.",
        {"element": "<memtune><hard_limit>", "scope": scope_name, "needed": asked, "limit": limit},
        "Raise or remove the limit (virsh memtune; QEMU itself needs some hundred MiB too), or declare less.",
    )


def check_address_bits(definition: Definition, limit: int | None, slots: int) -> VirtmemError | None:
    """A guest's processor must be able to reach all of maxMemory; libvirt stores what can't be started."""
    bits = definition.around.address_bits
    if bits is None or limit is None or definition.arch != "x86_64":
        return None
    _begin, _end, addresses = _range(definition, limit, slots)
    reach = min(2**bits, _AMD_RESERVED) if definition.around.is_amd and bits == _AMD_BITS else 2**bits
    if addresses <= reach:
        return None
    most = align_down(limit - (addresses - reach), GIB)
    return VirtmemError(
        "invalid_option",
        f"max_memory: {show(limit)} with {slots} slots takes addresses up to {show(addresses)}, and the guest's "
        f"processor reaches {show(reach)} ({bits} bits). The domain could not be started.",
        {"option": "max_memory", "value": limit, "address_bits": bits, "most": most},
        f"Declare {show(most)} or less, or give the processor more (<cpu><maxphysaddr mode='emulate' bits='...'/>).",
    )
