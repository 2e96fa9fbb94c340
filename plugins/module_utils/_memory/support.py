# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What each version of libvirt and QEMU, and each architecture, supports, as data.

Sources: libvirt's NEWS and formatdomain, QEMU's changelogs; the numbers are the first release with the feature.
A new feature is a row in NEEDS; what a model is like is in models.py.
"""

from __future__ import annotations

import typing as t

from . import models
from .device import Definition, Device, Wish
from .errors import VirtmemError
from .models import ALWAYS, DIMM, NEVER, NVDIMM, SGX_EPC, VIRTIO_MEM, VIRTIO_PMEM
from .platforms import Platform
from .properties import option_name

QEMU = "QEMU"  # the driver that has memory devices


class Versions(t.NamedTuple):
    """What answers at the other end: numbers as libvirt gives them (major * 1000000 + minor * 1000 + release)."""

    libvirt: int
    hypervisor: int
    driver: str = QEMU  # virConnectGetType


class Need(t.NamedTuple):
    """The first versions that have a feature."""

    libvirt: int
    qemu: int


# Keyed by the model, the option, or the operation that needs them.
NEEDS: t.Mapping[str, Need] = {
    DIMM: Need(1_002_014, 2_001_000),
    NVDIMM: Need(3_002_000, 2_006_000),
    VIRTIO_PMEM: Need(7_001_000, 4_001_000),
    VIRTIO_MEM: Need(7_009_000, 5_001_000),
    SGX_EPC: Need(8_010_000, 7_000_000),
    "access": Need(3_002_000, 2_001_000),
    "discard": Need(4_004_000, 2_010_000),
    "source.alignsize": Need(5_000_000, 2_012_000),
    "source.pmem": Need(5_000_000, 3_001_000),
    "readonly": Need(5_000_000, 3_001_000),
    "uuid": Need(6_002_000, 5_000_000),
    "dynamic_memslots": Need(10_001_000, 8_002_000),
    "base of a virtio device": Need(9_004_000, 5_001_000),
    # QEMU's commit b1b87327; libvirt had it for every architecture.
    "virtio-mem on aarch64": Need(7_009_000, 7_000_000),
    # Over CCW: libvirt's NEWS of 11.1, QEMU's changelog of 10.0.
    "virtio-mem on s390x": Need(11_001_000, 10_000_000),
    # QEMU's commit 339a8bbd; libvirt needed nothing for it.
    "hot-unplug of virtio-mem": Need(7_009_000, 8_001_000),
    # libvirt 9.0 refuses to start a domain that has one; 11.3 was seen to, and the information on devices that it
    # trips over was reworked in 9.4.
    "boot with virtio-pmem": Need(9_004_000, 4_001_000),
}


# Events and statistics of virtio-mem devices came with it; earlier ones, at either end, can't even be listened to.
OLDEST_LIBVIRT = 7_009_000
# libvirt before 9.5.0 counts every memory device against maxMemory's slots, later ones only DIMMs.
SLOTS_ONLY_FOR_DIMMS = 9_005_000
# libvirt 9.6.0 and later add the first NUMA cell themselves if maxMemory is set.
ADDS_NUMA_CELL = 9_006_000


def show_version(number: int) -> str:
    """`9.0.0` for 9000000."""
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"


def slot_takers(definition: Definition, versions: Versions) -> list[Device]:
    """The devices of a definition that this libvirt counts as taking a memory slot."""
    return [device for device in definition.devices if takes_slot(device.model, versions)]


def takes_slot(model: str, versions: Versions) -> bool:
    """Whether a device of this model counts as taking a memory slot."""
    return versions.libvirt < SLOTS_ONLY_FOR_DIMMS or models.facts(model).takes_slot


def has(feature: str, versions: Versions) -> bool:
    """Whether these versions have the feature; `always` and `never` are features too."""
    if feature in (ALWAYS, NEVER):
        return feature == ALWAYS
    need = NEEDS[feature]
    return versions.driver == QEMU and versions.libvirt >= need.libvirt and versions.hypervisor >= need.qemu


def can_unplug(model: str, versions: Versions) -> bool:
    """Whether a running guest can be asked to give a device of this model back."""
    return has(models.facts(model).hot_unplug, versions)


def missing(feature: str, versions: Versions) -> VirtmemError | None:
    """Why this feature can't be had from these versions, or None."""
    if has(feature, versions):
        return None
    need = NEEDS[feature]
    if versions.driver != QEMU:
        return VirtmemError(
            "unsupported",
            f"{feature} needs QEMU, and libvirt's driver is {versions.driver}.",
            {"feature": feature, "driver": versions.driver},
            "Give the uri of a QEMU hypervisor, such as qemu:///system.",
        )
    qemu = show_version(versions.hypervisor)
    return VirtmemError(
        "unsupported",
        f"{feature} needs libvirt {show_version(need.libvirt)} and QEMU {show_version(need.qemu)}; "
        f"this host has libvirt {show_version(versions.libvirt)} and QEMU {qemu}.",
        {
            "feature": feature,
            "libvirt": show_version(versions.libvirt),
            "libvirt_needed": show_version(need.libvirt),
            "qemu": qemu,
            "qemu_needed": show_version(need.qemu),
        },
        "Update the hypervisor's packages.",
    )


def on_platform(platform: Platform, versions: Versions) -> list[str]:
    """The models that a guest of this platform can have with these versions."""
    rows = ((model, row.platforms.get(platform.name, NEVER)) for model, row in models.MODELS.items())
    return [model for model, feature in rows if has(model, versions) and has(feature, versions)]


def lacking_any(definition: Definition, versions: Versions) -> VirtmemError | None:
    """Why a guest can't have memory devices of any model, or None."""
    if on_platform(definition.platform, versions):
        return None
    machine = definition.around.machine
    return VirtmemError(
        "unsupported",
        f"{_guests(definition)} can't have memory devices of any model with libvirt {show_version(versions.libvirt)} "
        f"and QEMU {show_version(versions.hypervisor)}.",
        {"feature": "memory devices", "arch": definition.arch, "machine": machine or None, "models": []},
        "Give the guest all its memory at boot.",
    )


def _guests(definition: Definition) -> str:
    machine = definition.around.machine
    return f"A guest of {definition.arch}" + (f" with machine {machine}" if machine else "")


def lacking_on(model: str, definition: Definition, versions: Versions) -> VirtmemError | None:
    """Why a guest of this architecture and machine can't have a device of a model, or None."""
    platform = definition.platform
    feature = models.facts(model).platforms.get(platform.name, NEVER)
    if feature != NEVER:
        return missing(feature, versions)
    has_them = on_platform(platform, versions)
    if not has_them:
        return lacking_any(definition, versions)
    return VirtmemError(
        "unsupported",
        f"model: {model} is not to be had. {_guests(definition)} can have {' or '.join(has_them)}.",
        {
            "option": "model",
            "feature": model,
            "arch": definition.arch,
            "machine": definition.around.machine or None,
            "models": has_them,
        },
        f"Declare model: {has_them[0]}.",
    )


def lacking(wish: Wish, model: str, versions: Versions) -> VirtmemError | None:
    """The first thing in a declaration that these versions don't have, or None."""
    features = [model] if model in NEEDS else []
    features += [option_name(name) for name in wish.given() if option_name(name) in NEEDS]
    if wish.base is not None:
        features.append(models.facts(model).base)
    return next((error for feature in features if (error := missing(feature, versions)) is not None), None)
