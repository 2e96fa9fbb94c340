# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The models of memory devices: one row for each, with all that tells it from the others but its XML.

A new model is a row here. Nothing else asks which model a device is of, only what its row says.
"""

from __future__ import annotations

import typing as t

from .platforms import ARM, OTHER, PC, PSERIES, S390

DIMM = "dimm"
NVDIMM = "nvdimm"
VIRTIO_MEM = "virtio-mem"
VIRTIO_PMEM = "virtio-pmem"
SGX_EPC = "sgx-epc"

# Where a device is plugged: into a slot for memory modules, with ACPI, or into a PCI slot, or nowhere.
MODULE, PCI, NOWHERE = "module", "pci", "nowhere"
ALWAYS, NEVER = "always", "never"
# Properties that libvirt reads for every model; it ignores those that it does not without a word.
_EVERY_MODEL = frozenset({"model", "size", "alias", "access"})


class Model(t.NamedTuple):
    """What there is to know of a model, whatever the versions.

    Args:
        platforms: where it can be had: the feature (of `support.NEEDS`) that it takes on each, or `always`.
        options: the properties that libvirt reads for it, beside those of every model.
        required: what a new device can't do without.
        bus: what a device is plugged into.
        is_memory: whether the guest's kernel gets it as ordinary memory.
        resizable: whether a size is requested of it, which its guest gives or takes while it runs.
        hot_plug: whether a running guest can be given one.
        plugs_beside_its_like: whether only a guest that was started with one can be given another.
        hot_unplug: `always`, `never`, or the feature (of `support.NEEDS`) that it takes.
        boot: the feature that it takes to start a domain with one, or `always`.
        base: the feature that it takes to choose its base, or `always`.
        access: what `access` can be.
        wants_node: whether it belongs to a NUMA cell, if the guest has any.
        host_feature: whether the host must have something for it that its capabilities tell (SGX).
    """

    platforms: t.Mapping[str, str]
    options: frozenset[str]
    required: tuple[str, ...]
    bus: str
    is_memory: bool
    resizable: bool
    hot_plug: bool
    plugs_beside_its_like: bool
    hot_unplug: str
    boot: str
    base: str
    access: frozenset[str]
    wants_node: bool
    host_feature: bool

    @property
    def takes_slot(self) -> bool:
        """Whether it takes a slot for memory modules, and with it ACPI."""
        return self.bus == MODULE

    @property
    def takes_port(self) -> bool:
        """Whether it takes a PCI slot."""
        return self.bus == PCI

    def has_option(self, name: str) -> bool:
        """Whether this property means anything for it."""
        return name in _EVERY_MODEL or name in self.options


_ANY_ACCESS = frozenset({"shared", "private"})

MODELS: t.Mapping[str, Model] = {
    DIMM: Model(
        platforms={PC: ALWAYS, ARM: ALWAYS, PSERIES: ALWAYS, OTHER: ALWAYS},
        options=frozenset({"node", "discard", "nodemask", "pagesize", "slot", "base"}),
        required=("size",),
        bus=MODULE,
        is_memory=True,
        resizable=False,
        hot_plug=True,
        plugs_beside_its_like=False,
        hot_unplug=ALWAYS,
        boot=ALWAYS,
        base=ALWAYS,
        access=_ANY_ACCESS,
        wants_node=True,
        host_feature=False,
    ),
    NVDIMM: Model(
        platforms={PC: ALWAYS, ARM: ALWAYS, PSERIES: ALWAYS, OTHER: ALWAYS},
        options=frozenset({"node", "uuid", "path", "alignsize", "pmem", "label_size", "readonly", "slot", "base"}),
        required=("size", "path"),
        bus=MODULE,
        is_memory=False,
        resizable=False,
        hot_plug=True,
        # QEMU's machine is started with nvdimm=on only if there is one already.
        plugs_beside_its_like=True,
        hot_unplug=NEVER,
        boot=ALWAYS,
        base=ALWAYS,
        access=_ANY_ACCESS,
        wants_node=True,
        host_feature=False,
    ),
    VIRTIO_MEM: Model(
        platforms={PC: ALWAYS, ARM: "virtio-mem on aarch64", S390: "virtio-mem on s390x", OTHER: ALWAYS},
        options=frozenset(
            {"node", "discard", "nodemask", "pagesize", "block", "requested", "dynamic_memslots", "base"}
        ),
        required=("size", "requested"),
        bus=PCI,
        is_memory=True,
        resizable=True,
        hot_plug=True,
        plugs_beside_its_like=False,
        hot_unplug="hot-unplug of virtio-mem",
        boot=ALWAYS,
        base="base of a virtio device",
        access=_ANY_ACCESS,
        wants_node=True,
        host_feature=False,
    ),
    VIRTIO_PMEM: Model(
        platforms={PC: ALWAYS, OTHER: ALWAYS},
        options=frozenset({"path", "base"}),
        required=("size", "path"),
        bus=PCI,
        is_memory=False,
        resizable=False,
        hot_plug=True,
        plugs_beside_its_like=False,
        hot_unplug=NEVER,
        boot="boot with virtio-pmem",
        base="base of a virtio device",
        access=frozenset({"shared"}),
        wants_node=False,
        host_feature=False,
    ),
    SGX_EPC: Model(
        platforms={PC: ALWAYS},
        options=frozenset({"node", "nodemask"}),
        required=("size",),
        bus=NOWHERE,
        is_memory=False,
        resizable=False,
        hot_plug=False,
        plugs_beside_its_like=False,
        hot_unplug=NEVER,
        boot=ALWAYS,
        base=ALWAYS,
        access=_ANY_ACCESS,
        wants_node=False,
        host_feature=True,
    ),
}

# A model of a later libvirt: it can be read, and is otherwise left alone.
_UNKNOWN = Model(
    platforms=dict.fromkeys((PC, ARM, PSERIES, S390, OTHER), ALWAYS),
    options=frozenset(),
    required=("size",),
    bus=NOWHERE,
    is_memory=False,
    resizable=False,
    hot_plug=False,
    plugs_beside_its_like=False,
    hot_unplug=NEVER,
    boot=ALWAYS,
    base=ALWAYS,
    access=_ANY_ACCESS,
    wants_node=False,
    host_feature=False,
)


def facts(model: str | None) -> Model:
    """What there is to know of this model."""
    return MODELS.get(model or "", _UNKNOWN)
