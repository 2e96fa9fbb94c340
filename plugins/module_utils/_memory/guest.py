# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What a running guest says of its own memory, and what follows from it: can it use what is plugged?

libvirt's `current` is what the driver in the guest has plugged. Memory that nobody brings online is plugged too, and
of no use. The guest's own total is in the statistics of its balloon (virDomainMemoryStats): `available` is MemTotal.
With what the balloon holds back, it grows by exactly what is plugged and brought online.
"""

from __future__ import annotations

import typing as t

from . import models
from .device import Definition, Device, Domain, Statistics
from .errors import VirtmemError
from .size import MIB, about, show

AUTO, PASSIVE, REQUIRED, NONE = VERIFY = ("auto", "passive", "required", "none")

# What a kernel keeps of the boot memory for itself, which its own total lacks. Measured with Debian 12's cloud kernel:
# 102 MiB of 256 MiB, 115 MiB of 1 GiB, 168 MiB of 4 GiB, 238 MiB of 8 GiB, so 1.7 % and 98 MiB.
_USUALLY_KEPT = (2, 192 * MIB)  # percent, and bytes: no more than this is no more than usual
# With the most that distributions set aside for a crash kernel (Ubuntu: 512 MiB from 4 GiB on, 4 GiB from 128 GiB on).
_EVER_KEPT = (5, 640 * MIB)
_LEAST_KEPT = (1, 48 * MIB)  # no kernel keeps less
# How much the total may lack of what was plugged: the kernel may keep 1/64 of a new DIMM for its memory map
# (memmap_on_memory), and a little for itself.
_MAP, _SLACK = 32, 8 * MIB


class Account(t.NamedTuple):
    """The memory of a running guest, as libvirt counts it and as the guest does, in bytes."""

    boot: int  # what it started with, without devices
    plugged: int  # what its devices have given it: DIMMs whole, virtio-mem as far as it is plugged
    held: int  # what the balloon holds back
    total: int  # what the guest says that it has

    @property
    def kept(self) -> int:
        """What the guest has and does not count: its kernel's own share, and memory that is not online."""
        return self.boot + self.plugged - self.held - self.total


class Verdict(t.NamedTuple):
    """Whether the guest can use what is plugged; None if it is unknown, with the reason."""

    usable: bool | None = None
    missing: int = 0  # how many bytes it can't use, if `usable` is false
    reason: str | None = None
    is_suspect: bool = False  # whether it looks as if nothing of what is plugged were online


class Guest(t.NamedTuple):
    """What a running guest says of itself, as results show it. None with a reason if it says nothing."""

    total: int | None = None
    usable: int | None = None
    held: int | None = None
    age: float | None = None  # seconds since it said so
    reason: str | None = None

    def describe(self) -> dict[str, t.Any]:
        """The guest as results show it."""
        return self._asdict()


class Word(t.NamedTuple):
    """The guest's own word, what follows from it, and the account that says so."""

    guest: Guest = Guest()
    verdict: Verdict = Verdict()
    account: Account | None = None


def whole(definition: Definition) -> int:
    """The boot memory and the DIMMs, in bytes: what the balloon counts."""
    return definition.base + sum(item.size for item in definition.devices if _is_whole(item.model))


def kept_limit(definition: Definition, device: Device, joins: bool) -> int | None:
    """What currentMemory must be for the balloon's limit to stay, or None if libvirt leaves it right.

    At boot the number is the balloon's target, which counts boot memory and DIMMs alone. A CONFIG attach adds every
    device's size to it, so a limit is lost by a virtio-mem device; a CONFIG detach subtracts it, and below zero it
    becomes all there is (9.0 to 12.8).

    Args:
        definition: the configuration as it is.
        device: what comes or goes.
        joins: whether it comes.
    """
    limit = definition.current_memory
    if limit is None or limit >= whole(definition):
        return None
    if not _is_whole(device.model):
        return limit
    return None if joins else max(limit - device.size, 0) or definition.base


def _is_whole(model: str) -> bool:
    facts = models.facts(model)
    return facts.is_memory and not facts.resizable


def account(definition: Definition, said: Statistics) -> Account | None:
    """The running guest's memory by both counts; None if it has not said how much it has.

    Args:
        definition: that of the running guest.
        said: what the guest said.
    """
    if said.total is None:
        return None
    devices = sum(
        (item.current or 0) if models.facts(item.model).resizable else item.size
        for item in definition.devices
        if models.facts(item.model).is_memory
    )
    left = whole(definition) if said.balloon is None else said.balloon
    return Account(definition.base, devices, max(whole(definition) - left, 0), said.total)


def _bound(boot: int, bound: tuple[int, int]) -> int:
    percent, more = bound
    # No kernel keeps more than half of a small guest.
    return min(boot * percent // 100 + more, boot // 2)


def judge(now: Account, before: Account | None = None) -> Verdict:
    """Whether the guest can use what is plugged.

    Args:
        now: the guest's memory now.
        before: as it was before something was plugged, or None. With it even a little that is not online is seen.
    """
    is_counted = before is not None and now.plugged > before.plugged
    if before is not None:
        lacking = now.kept - before.kept
        if lacking > max(_SLACK, abs(now.plugged - before.plugged) // _MAP):
            # What was plugged before may have been offline already.
            had = judge(before)
            return Verdict(False, min(lacking + (before.plugged if had.is_suspect else had.missing), now.plugged))
    usual, ever = (_bound(now.boot, bound) for bound in (_USUALLY_KEPT, _EVER_KEPT))
    ever += now.plugged // _MAP  # the map of a DIMM may be in the DIMM, however small the boot memory is
    # Nothing of what is plugged is online, if what is left then is what a kernel keeps.
    all_offline = now.kept - now.plugged >= _bound(now.boot, _LEAST_KEPT)
    if now.kept > ever and now.plugged:
        return Verdict(False, now.plugged if all_offline else now.kept - usual)
    if is_counted or now.kept <= usual or not now.plugged:
        return Verdict(True)
    reason = (
        f"The guest does not count {about(now.kept)} of its memory. Its kernel may keep that much for itself, or some "
        f"of the {show(now.plugged)} that are plugged is not online."
    )
    return Verdict(None, 0, reason, all_offline)


# --- why the guest is not asked, or says nothing


def mute(domain: Domain) -> str | None:
    """Why the guest of this domain can't say anything of itself, or None."""
    if domain.live is None:
        return "The domain is not running."
    if not domain.live.balloon:
        return "The domain has no balloon device (memballoon), so its guest has no way to tell how much memory it has."
    if domain.state != "running":
        return f"The domain is {domain.state}, so its guest can't tell how much memory it has."
    return None


SILENT = (
    "The guest has told nothing of itself: its balloon driver (virtio_balloon) is missing, or it has not booted yet."
)


def stale(age: float, period: int) -> str:
    """Why what the guest said last counts for nothing: nobody asks it, or it no longer answers."""
    if not period:
        return f"Nobody polls the balloon's statistics, and the last ones are {age:.0f} s old."
    return f"The balloon's statistics are polled every {period} s, but the last ones are {age:.0f} s old."


def is_fresh(said: Statistics, period: int) -> bool:
    """Whether a report is as new as the polling makes it; a busy guest may miss one."""
    return bool(period) and said.age is not None and said.age <= 2 * period + 1


def hear(domain: Domain, said: Statistics | None, before: Account | None = None, fresh: bool | None = None) -> Word:
    """The guest's own word.

    Args:
        domain: as it is now.
        said: the guest's report, None if there was no use in asking for it.
        before: the guest's memory before something was plugged, if that is known.
        fresh: whether the report is of now; by its age if nobody has watched it come.
    """
    reason = mute(domain)
    if reason is not None or domain.live is None or said is None:
        return Word(Guest(reason=reason), Verdict(reason=reason))
    counted = account(domain.live, said)
    if counted is None:
        return Word(Guest(reason=SILENT), Verdict(reason=SILENT))
    if fresh is None:
        fresh = is_fresh(said, domain.live.period)
    age = said.age or 0.0
    verdict = judge(counted, before) if fresh else Verdict(reason=stale(age, domain.live.period))
    guest = Guest(counted.total, said.usable, counted.held, round(age, 1), verdict.reason)
    return Word(guest, verdict, counted)


# --- what is said of it

ONLINE_HINT = (
    "The memory is plugged, and not online in the guest. Now, in the guest: echo online_movable > "
    "/sys/devices/system/memory/auto_online_blocks, and the same into the state of each memory block that is offline "
    "(grep -l offline /sys/devices/system/memory/memory*/state). For good: the kernel argument "
    "memhp_default_state=online_movable, or a udev rule. Then run the task again."
)


def not_usable(domain: Domain, now: Account, before: Account | None, verdict: Verdict, seconds: float) -> VirtmemError:
    """The error of a guest that has the memory plugged and can't use it.

    Args:
        domain: whose guest it is.
        now: its memory now.
        before: its memory before something was plugged, if that is known.
        verdict: what it can't use.
        seconds: how long it was waited for.
    """
    was = "" if before is None else f" It was {about(before.total)} before the change."
    return VirtmemError(
        "not_usable",
        f"The guest of domain {domain.name} has {show(now.plugged)} plugged by its memory devices, and after "
        f"{seconds:g} s it still can't use {about(verdict.missing)} of that: its own total is {about(now.total)}.{was}",
        {
            "domain": domain.name,
            "shortfall": verdict.missing,
            "plugged": now.plugged,
            "total": now.total,
            "total_before": None if before is None else before.total,
            "held": now.held,
            "boot": now.boot,
        },
        ONLINE_HINT,
    )


def explain_offline(error: VirtmemError, now: Account, verdict: Verdict) -> None:
    """Says of an error that the memory which was plugged so far is not online, which is why it stopped there."""
    error.msg += (
        f" It can't use {about(verdict.missing)} of the {show(now.plugged)} that are plugged: its own total is "
        f"{about(now.total)}."
    )
    error.hint = ONLINE_HINT
    error.details.update(plugged=now.plugged, total=now.total, not_usable=verdict.missing)


def not_verified(domain: Domain, reason: str) -> VirtmemError:
    """The error of a task that needs the guest's own word (`verify: required`) and can't have it."""
    return VirtmemError(
        "not_verified",
        f"verify: required needs the guest's own word, and domain {domain.name} has none. {reason}",
        {"option": "verify", "value": REQUIRED, "domain": domain.name, "reason": reason},
        "Give the domain <memballoon model='virtio'> and its guest the virtio_balloon driver, or use verify auto.",
    )
