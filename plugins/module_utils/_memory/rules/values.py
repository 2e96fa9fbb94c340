# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What the properties of a device can't be, whatever the domain: sizes, blocks, options of another model."""

from __future__ import annotations

import typing as t

from .. import models, platforms
from ..device import ABSENT, Definition, Wish
from ..errors import VirtmemError
from ..platforms import PSERIES, Platform
from ..properties import option_name
from ..size import KIB, align_down, align_up, is_power_of_two, show


def first(problems: t.Iterable[VirtmemError | None]) -> VirtmemError | None:
    """The first problem of several checks, None if there is none."""
    return next((problem for problem in problems if problem is not None), None)


def check_multiple(option: str, value: int, unit: int, why: str) -> VirtmemError | None:
    """A value is a whole number of units; `why` says which units these are."""
    if value % unit == 0:
        return None
    low, high = align_down(value, unit), align_up(value, unit)
    return VirtmemError(
        "not_aligned",
        f"{option}: {show(value)} is not a multiple of {show(unit)}, {why}.",
        {"option": option, "value": value, "unit": unit, "below": low, "above": high},
        f"The nearest are {show(low)} and {show(high)}." if low else f"The smallest is {show(high)}.",
    )


SMALLEST_LABEL = 128 * KIB
USUAL = platforms.of("x86_64")


def check_block(value: int, platform: Platform = USUAL, page: int = 0) -> VirtmemError | None:
    """A virtio-mem block is a power of two, and no smaller than the host's huge page or the page of the device."""
    least = max(platform.smallest_block, page)
    if is_power_of_two(value) and value >= least:
        return None
    why = f"is smaller than {show(least)}" if value < least else "is not a power of two"
    if value < least == page:
        why += ", the page in which the host gives the memory"
    return VirtmemError(
        "invalid_block",
        f"block: {show(value)} {why}.",
        {"option": "block", "value": value, "smallest": least},
        f"Leave it out, or give a power of two from {show(least)} on.",
    )


def check_requested(value: int, size: int, block_size: int) -> VirtmemError | None:
    """What is requested of a virtio-mem device is a whole number of its blocks, and no more than its size."""
    if value > size:
        return VirtmemError(
            "requested_exceeds_size",
            f"requested: {show(value)} is more than the size of the device, {show(size)}.",
            {"option": "requested", "requested": value, "size": size},
            f"Request at most {show(size)}, or declare a larger size (it takes a restart to become real).",
        )
    return check_multiple("requested", value, block_size, "the block of the device")


def check_size(value: int, block_size: int | None, platform: Platform, page: int = 0) -> VirtmemError | None:
    """QEMU takes no other sizes; libvirt lets them pass until the next boot."""
    unit = max(platform.size_unit, block_size or 0, page)
    if value == 0:
        return VirtmemError(
            "invalid_option",
            "size: it is 0, and must be greater than 0.",
            {"option": "size", "value": 0},
            f"Give a multiple of {show(unit)}.",
        )
    why = "the page in which the host gives the memory" if unit == page else "which is what QEMU can plug"
    return check_multiple("size", value, unit, why)


def check_label(value: int, size_of_device: int) -> VirtmemError | None:
    """The label area of an nvdimm lies inside it (virDomainMemoryDefValidate)."""
    if SMALLEST_LABEL <= value < size_of_device:
        return None
    return VirtmemError(
        "invalid_option",
        f"label_size: {show(value)} is not between {show(SMALLEST_LABEL)} and the size of the device, "
        f"{show(size_of_device)}.",
        {"option": "label_size", "value": value, "smallest": SMALLEST_LABEL, "size": size_of_device},
        f"Give at least {show(SMALLEST_LABEL)} and less than the size.",
    )


def check_labelled(size: int, label: int | None, unit: int) -> VirtmemError | None:
    """The nvdimm of a pSeries guest has a label, and libvirt makes the rest of it whole units without a word."""
    if label is None:
        return VirtmemError(
            "missing_option",
            "label_size: an nvdimm of a pSeries guest has a label, and its size must be given.",
            {"option": "label_size", "missing": ["label_size"]},
            f"Give {show(SMALLEST_LABEL)} or more, and as size a multiple of {show(unit)} with the label on top.",
        )
    rest = size - label
    if rest > 0 and rest % unit == 0:
        return None
    low, high = align_down(max(rest, 0), unit), align_up(max(rest, 1), unit)
    sizes = [show(whole + label) for whole in (low, high) if whole]
    return VirtmemError(
        "not_aligned",
        f"size: {show(size)} without the label of {show(label)} is not a multiple of {show(unit)}, as the nvdimm of a "
        "pSeries guest is.",
        {"option": "size", "value": size, "unit": unit, "below": low + label if low else 0, "above": high + label},
        f"The nearest are {' and '.join(sizes)}." if low else f"The smallest is {sizes[0]}.",
    )


def check_options(model: str, names: t.Iterable[str]) -> VirtmemError | None:
    """libvirt ignores an option of another model without a word, and it could never be delivered."""
    wrong = [name for name in names if not models.facts(model).has_option(name)]
    if not wrong:
        return None
    name = wrong[0]
    having = [other for other, row in models.MODELS.items() if row.has_option(name)]
    return VirtmemError(
        "invalid_option",
        f"{option_name(name)}: is not supported by model {model}, only by {', '.join(having)}.",
        {"option": option_name(name), "model": model, "models": having},
        "Leave it out, or choose another model.",
    )


def check_uuid(value: str, arch: str) -> VirtmemError | None:
    """Only pSeries guests know the UUID of an nvdimm; elsewhere libvirt refuses the whole device (code 67)."""
    if platforms.of(arch).name == PSERIES:
        return None
    return VirtmemError(
        "invalid_option",
        f"uuid: only pSeries guests support the UUID of an nvdimm; this guest is {arch}.",
        {"option": "uuid", "value": value, "arch": arch},
        "Leave it out.",
    )


def check_access(model: str, values: t.Mapping[str, t.Any]) -> VirtmemError | None:
    """Values that libvirt refuses for this model."""
    access, possible = values.get("access"), models.facts(model).access
    if access is None or access in possible:
        return None
    listed = ", ".join(sorted(possible))
    return VirtmemError(
        "invalid_option",
        f"access: {access} is not possible for a device of model {model}, only {listed}.",
        {"option": "access", "value": access, "model": model},
        "Leave it out; libvirt chooses what is possible.",
    )


def check_wish(wished: Wish) -> VirtmemError | None:
    """What can be said of a declaration alone, before any connection is made."""
    problems = []
    if wished.model is not None:
        problems.append(check_options(wished.model, wished.given()))
        problems.append(check_access(wished.model, wished.given()))
    if wished.block is not None and not is_power_of_two(wished.block):
        problems.append(check_block(wished.block))
    if wished.size is not None and wished.requested is not None:
        problems.append(check_requested(wished.requested, wished.size, wished.block or 1))
    if wished.path is not None and not wished.path.startswith("/"):
        problems.append(
            _unusable("source.path", wished.path, "is not an absolute path", "Give the whole path, beginning with /.")
        )
    if wished.state == ABSENT and wished.replace:
        problems.append(_unusable("replace", True, "contradicts state absent", "Leave out one of them."))
    return first(problems)


def _unusable(option: str, value: object, why: str, hint: str) -> VirtmemError:
    return VirtmemError("invalid_option", f"{option}: {value!r} {why}.", {"option": option, "value": value}, hint)


def check_complete(values: t.Mapping[str, t.Any], wished: Wish) -> VirtmemError | None:
    """A device that does not exist yet needs a model and what that model can't do without."""
    model = values.get("model")
    needed = ("model", *(models.facts(model).required if model else ("size",)))
    missing = [option_name(name) for name in needed if values.get(name) is None]
    if not missing:
        return None
    lacking = " and ".join([", ".join(missing[:-1]), missing[-1]] if missing[1:] else missing)
    return VirtmemError(
        "missing_option",
        f"The domain has no memory device with {wished.describe()}, and to attach a new one {lacking} must be given.",
        {"missing": missing},
        f"Give {lacking}; if the device should exist already, check its alias with virsh dumpxml.",
    )


def _is_labelled(model: str, platform: Platform) -> bool:
    return platform.fixed_label and models.facts(model).has_option("label_size")


def check_device(
    values: t.Mapping[str, t.Any], changed: t.Container[str], definition: Definition, page: int = 0
) -> VirtmemError | None:
    """Why a device can't have these properties, or None. Only what changes is judged, the rest is libvirt's.

    Args:
        values: the properties that the device would have.
        changed: the names of those that are new.
        definition: what it is to be in.
        page: in which the host gives its memory, in bytes; 0 for the ordinary one.
    """
    problems = [check_access(values["model"], values)]
    if values.get("uuid") is not None and "uuid" in changed:
        problems.append(check_uuid(values["uuid"], definition.arch))
    if "block" in changed:
        problems.append(check_block(values["block"], definition.platform, page))
    if _is_labelled(values["model"], definition.platform) and ("size" in changed or "label_size" in changed):
        problems.append(check_labelled(values["size"], values.get("label_size"), definition.platform.size_unit))
    elif "size" in changed or "block" in changed or "pagesize" in changed:
        problems.append(check_size(values["size"], values.get("block"), definition.platform, page))
    if values.get("label_size") is not None and ("label_size" in changed or "size" in changed):
        problems.append(check_label(values["label_size"], values["size"]))
    if values.get("requested") is not None and any(name in changed for name in ("requested", "size", "block")):
        problems.append(check_requested(values["requested"], values["size"], values.get("block") or 1))
    return first(problems)
