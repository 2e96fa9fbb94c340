# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Whether a running guest is where it should be: predicates over observations, without clock or waiting.

Times are seconds on any one clock that does not run backwards.
"""

from __future__ import annotations

import typing as t

from . import identity
from .device import ABSENT, LIVE, Device, Domain, Wish
from .errors import VirtmemError
from .rules.around import page_of
from .rules.domain import check_answering
from .size import EXACT, KIB, Tolerance, show

# QEMU sends at most one size event per second and device, and a busy guest may need several seconds for a
# block; a size that has not moved for longer than this has stopped.
STALLED_AFTER = 10.0

# How long a virtio-mem device must have been seen empty before the guest is asked for the device itself, in seconds.
# To QEMU it is empty as soon as the driver has said so, but only then does the driver take the last memory block away.
# Linux (seen with 6.1) that is asked by ACPI meanwhile holds the lock that the driver waits for, and waits for the
# driver: nothing can be plugged or unplugged in that guest until it boots again. The host sees nothing of it. A guest
# with eight processes that want all of its processor hung at the first or second unplug; with a pause of 0.1 s before
# it, none did.
REST = 2.0

NO_RESPONSE = "no_response"
STALLED = "stalled"
PROGRESSING = "progressing"

_HINTS = {
    NO_RESPONSE: "The guest has not reacted at all. Check in the guest that it has booted and runs, and that the "
    "virtio_mem driver is there (lsmod | grep virtio_mem; Linux 5.8 or later with CONFIG_VIRTIO_MEM).",
    STALLED: "The guest has a driver, and it stopped on its way. To grow, check in the guest that memory blocks go "
    "online, as the driver plugs no more than 1 GiB of memory that stays offline. Now: echo online_movable > "
    "/sys/devices/system/memory/auto_online_blocks, and the same into the state of each block that is offline; for "
    "good: the kernel argument memhp_default_state=online_movable. To shrink, check that the memory is free and "
    "movable, since memory in use by the kernel can't be given back.",
    PROGRESSING: "The guest was still making progress. Give it more time with a larger wait_timeout; running the task "
    "again resumes the wait.",
}
_HINT_NOT_GONE = (
    "The guest has not answered the request to give the device back. Check in the guest that it has booted and runs, "
    "and that its memory blocks are online as movable (auto_online_blocks=online_movable)."
)
_HINT_NOT_LEFT = (
    "The guest holds none of the device's memory, and has not answered the request to give the device back. Check in "
    "the guest that it has booted and runs. If its kernel log says that a task is blocked in virtio_mem_remove, its "
    "hotplug hangs, and only a restart of the domain helps."
)
_ORDINARY = 64 * KIB  # the largest page that no pool is needed for
_PAUSED_HINT = "The domain is paused, so its guest can't answer. Resume it (virsh resume), and run the task again."


class Goal(t.NamedTuple):
    """The actual size that a live device must reach: from `low` to `high`, None for no bound on that side."""

    wish: Wish  # names the live device
    low: int | None
    high: int | None
    requested: int  # what the device must go on being asked for while the guest gets there
    staged: int = 0  # how much more is declared, in bytes, which only the next boot can bring
    gone: bool = False  # not a size: the device must leave the guest

    @property
    def target(self) -> int:
        """The bound that was declared, in bytes."""
        return next(bound for bound in (self.low, self.high, 0) if bound is not None)

    def distance(self, current: int) -> int:
        """How many bytes are missing to the goal, or too many for it."""
        if self.low is not None and current < self.low:
            return self.low - current
        if self.high is not None and current > self.high:
            return current - self.high
        return 0

    def reached(self, device: Device | None, tolerance: Tolerance) -> bool:
        """Whether the live device, None if it is not there, is as it must be."""
        if self.gone or device is None:
            return self.gone and device is None
        return self.distance(device.current or 0) <= tolerance.of(self.target)


class Movement(t.NamedTuple):
    """What was seen of an actual size so far: enough to tell how it went, whatever the length of the wait."""

    first: int
    last: int
    started: float
    moved: float | None = None  # when it last moved

    def seen(self, current: int, now: float) -> Movement:
        """The movement with one more observation."""
        if current == self.last:
            return self
        return Movement(self.first, current, self.started, now)

    def quiet_for(self, now: float) -> float:
        """Seconds since the last movement, or since the start if there was none."""
        return now - (self.started if self.moved is None else self.moved)

    def diagnosis(self, now: float) -> str:
        """One of `no_response`, `stalled`, `progressing`. A guest that has any of the memory has a driver."""
        if self.moved is None:
            return STALLED if self.last else NO_RESPONSE
        return STALLED if self.quiet_for(now) > STALLED_AFTER else PROGRESSING


def live_device(domain: Domain, wish: Wish) -> Device | None:
    """The device of the running guest that the wish names."""
    return identity.select(domain.live, wish, LIVE) if domain.live is not None else None


def outcome(device: Device | None, goal: Goal | None, wish: Wish | None, tolerance: Tolerance) -> tuple[bool, int]:
    """Whether a running guest has what is declared, and how many bytes lie between.

    Args:
        device: the device of the running guest; None if it is not there.
        goal: what the plan wants of the guest in the end, if it wants a size.
        wish: the declaration; None if the device itself is all there is to go by.
        tolerance: what is near enough.
    """
    if wish is not None and wish.state == ABSENT:
        return device is None, 0 if device is None else device.size if device.current is None else device.current
    if device is None:
        declared = 0 if wish is None else wish.size if wish.requested is None else wish.requested
        return False, declared or 0
    if device.current is None:  # it is plugged as a whole or not at all
        return True, 0
    if goal is None:
        missing = abs((device.requested or 0) - device.current)
        return missing == 0, missing
    near = goal.staged == 0 and goal.reached(device, tolerance)
    return near, goal.distance(device.current) + goal.staged


def pointless(domain: Domain, goal: Goal) -> VirtmemError | None:
    """Why waiting any longer can't help, or None.

    Args:
        domain: the domain as it is now.
        goal: what is waited for.
    """
    subject = f"Domain {domain.name}"
    details = {"domain": domain.name, "state": domain.state, "requested": goal.target}
    if domain.live is None:
        return VirtmemError(
            "domain_stopped",
            f"{subject} stopped ({domain.state}) before its guest had the memory.",
            details,
            "Start the domain; what is in its configuration comes with the boot. Then run the task again.",
        )
    device = live_device(domain, goal.wish)
    # A guest that has everything already need not answer.
    problem = None if goal.reached(device, EXACT) else check_answering(domain)
    if problem is not None:
        problem.details.update(details)
        return problem
    if device is None and goal.gone:
        return None
    if device is None:
        return VirtmemError(
            "device_vanished",
            f"The device ({goal.wish.describe()}) left the running guest of {subject.lower()} during the wait.",
            details,
            "Someone else removed it. Run the task again to attach it.",
        )
    if (device.requested or 0) != goal.requested:
        return VirtmemError(
            "changed_meanwhile",
            f"Someone else requested {show(device.requested or 0)} of {device.alias} instead of "
            f"{show(goal.requested)} during the wait.",
            details | {"requested_now": device.requested},
            "Make sure that nothing else sizes the guest, and run the task again.",
        )
    return None


def not_converged(
    domain: Domain, device: Device, goal: Goal, movement: Movement, now: float, timeout: float
) -> VirtmemError:
    """The error of a wait that ended at its timeout, with the diagnosis."""
    current = held(device, goal)
    missing = current if goal.gone else goal.distance(current)
    diagnosis = movement.diagnosis(now)
    details: dict[str, t.Any] = {
        "requested": goal.target,
        "current": current,
        "shortfall": missing,
        "since_last_movement": round(movement.quiet_for(now), 1),
        "diagnosis": diagnosis,
        "wait_timeout": timeout,
        "state": domain.state,
    }
    name = device.alias or device.model
    if goal.gone:
        text = f"{name} ({show(device.size)}) is still in the guest {timeout:g} s after it was asked for ({diagnosis})."
    else:
        verb = "lacks" if goal.low is not None and current < goal.low else "still holds"
        text = (
            f"{name} has {show(current)} instead of the requested {show(goal.target)} after "
            f"{timeout:g} s: the guest {verb} {show(missing)} ({diagnosis})."
        )
    hint = _HINTS[diagnosis]
    if goal.gone:
        hint = _HINT_NOT_GONE if device.current is None else _HINT_NOT_LEFT
    page = page_of(domain.live, device.describe()) if domain.live is not None else 0
    if page > _ORDINARY and goal.low is not None and current < goal.low:
        hint = f"The device takes pages of {show(page)} from a pool of the host: see whether it has free ones " + (
            f"(virsh freepages --all). {hint}"
        )
    return VirtmemError("not_converged", text, details, _PAUSED_HINT if domain.state == "paused" else hint)


def held(device: Device | None, goal: Goal) -> int:
    """How much memory of the device the guest holds, in bytes: all of it if a device is plugged as a whole."""
    if device is None:
        return 0
    return device.size if goal.gone and device.current is None else device.current or 0


def rejected(domain: Domain, device: Device) -> VirtmemError:
    """The error of a guest that says no to an unplug."""
    name = device.alias or device.model
    return VirtmemError(
        "guest_rejected_unplug",
        f"The guest of domain {domain.name} refused to give {name} ({show(device.size)}) back.",
        {"domain": domain.name, "device": name, "size": device.size},
        "Its memory is in use by the guest's kernel, or was not onlined as movable "
        "(auto_online_blocks=online_movable). "
        "Free it in the guest and run the task again, or use scope config to let it go at the next boot.",
    )
