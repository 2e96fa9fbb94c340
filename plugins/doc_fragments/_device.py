# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Documentation of the option family that declares one memory device."""

from __future__ import annotations


class ModuleDocFragment:
    """The device: its identity, its properties, and how far a task may go to get them."""

    DOCUMENTATION = r"""
options:
  state:
    description:
      - V(present) makes sure that the device is there and as declared, in every scope that O(scope) chooses.
      - V(absent) makes sure that it is not. A virtio-mem device is emptied first, and goes when the guest has given all
        of it back; a DIMM goes when the guest agrees. What can't be unplugged (V(nvdimm), V(virtio-pmem), V(sgx-epc),
        and V(virtio-mem) with QEMU before 8.1, which is emptied then) goes from the configuration, and from the guest
        at its next boot.
    type: str
    choices: [present, absent]
    default: present
  alias:
    description:
      - The device's user alias, the one name that is the same in the running guest and in the persistent configuration,
        and that survives reboots and migrations.
      - V(ua-) is put in front if it is missing, as libvirt requires of user aliases.
      - Letters, digits, V(-) and V(_) only. libvirt drops any other alias silently, so it is refused here.
      - Without an alias, what is given of O(model), O(node), O(source.path), O(slot) and O(base) must fit a single
        device in each scope, or none. A device that is attached without alias can later be found only by these, which
        the task warns about.
      - See O(adopt) for a device that has no user alias yet.
      - At least one of O(alias), O(model), O(node), O(slot) and O(base) is required.
    type: str
  model:
    description:
      - The kind of device. Required to attach a new one.
      - V(virtio-mem) is memory whose actual size can be changed while the guest runs, up and down.
      - V(dimm) is memory that is plugged and unplugged as a whole.
      - V(nvdimm) and V(virtio-pmem) are persistent memory in a file or a device of the host, O(source.path). libvirt
        before 9.4 can't start a domain that has a virtio-pmem device.
      - V(sgx-epc) is memory for SGX enclaves. It can't be given to a running guest.
    type: str
    choices: [dimm, nvdimm, virtio-mem, virtio-pmem, sgx-epc]
  size:
    description:
      - The size of the device; of a virtio-mem device, the most memory that it can ever give to the guest. It counts
        against the domain's C(maxMemory) in full.
      - Required to attach a new device. It can't be changed on a running guest; see RV(restart_reasons).
      - A quantity with a unit as libvirt knows them, C(KiB), C(MiB), C(GiB), C(TiB) (or C(K), C(M), C(G), C(T)) for
        powers of 1024, C(KB), C(MB), C(GB), C(TB) for powers of 1000. A bare number is refused, only V(0) needs no
        unit.
      - A multiple of 2MiB (256MiB on pSeries, there with O(label_size) on top) and of O(block).
    type: str
  requested:
    description:
      - How much of O(size) the guest is asked to use now. The task is done when the guest does so; see O(wait).
      - For virtio-mem only, and required to attach a new device. A quantity as in O(size), a multiple of O(block), at
        most O(size).
    type: str
  block:
    description:
      - The granularity in which the guest can use a virtio-mem device, a power of two of at least 2MiB.
      - A new device gets the size of its huge page if O(source.pagesize) says so, else 2MiB (1MiB on hosts of s390x).
      - It can't be changed on a running guest.
    type: str
  label_size:
    description:
      - The size of the label area of an nvdimm, inside O(size). At least 128KiB. A quantity as in O(size). On
        pSeries an nvdimm must have one.
      - It can't be changed on a running guest.
    type: str
  node:
    description:
      - The guest's NUMA cell that the memory belongs to. For all models but virtio-pmem.
      - A new device gets the domain's only cell if there is just one.
      - It can't be changed on a running guest.
    type: int
  access:
    description:
      - Whether the host shares the memory with other processes. Without it, the domain's own setting counts.
      - It can't be changed on a running guest.
    type: str
    choices: [shared, private]
  discard:
    description:
      - Whether the host may forget what was in the memory when the domain ends. For dimm and virtio-mem.
      - It can't be changed on a running guest.
    type: bool
  readonly:
    description:
      - Whether the guest can only read an nvdimm. It can't be changed on a running guest.
    type: bool
  uuid:
    description:
      - The UUID of an nvdimm, for pSeries guests. It can't be changed on a running guest.
    type: str
  dynamic_memslots:
    description:
      - Whether QEMU may split a virtio-mem device into memory slots as it grows. Needs libvirt 10.1 and QEMU 8.2.
      - It can't be changed on a running guest.
    type: bool
  source:
    description:
      - Where the host takes the memory from. It can't be changed on a running guest.
    type: dict
    suboptions:
      path:
        description:
          - The file or device of the host that holds the memory of an nvdimm or virtio-pmem device; both need it.
        type: str
      nodemask:
        description:
          - The host's NUMA nodes, as libvirt writes them, for example V(0-1,3). For dimm, virtio-mem and sgx-epc.
          - A node that the host does not have is refused.
        type: str
      pagesize:
        description:
          - The size of the host's pages, for example V(2MiB) or V(1GiB) for huge pages. A quantity as in O(size). For
            dimm and virtio-mem.
          - A size that the host does not have is refused, and for a running guest a pool with too few pages too.
        type: str
      alignsize:
        description:
          - The alignment of O(source.path) that an nvdimm needs. A quantity as in O(size).
        type: str
      pmem:
        description:
          - Whether O(source.path) of an nvdimm is real persistent memory.
        type: bool
  slot:
    description:
      - The guest's memory slot that a dimm or nvdimm takes. Without it, libvirt chooses, and it is not compared.
    type: int
  base:
    description:
      - The guest address where the device begins, such as V(0x140000000), a multiple of what O(size) is a multiple of.
        Without it, QEMU chooses, and it is not compared. For virtio devices from libvirt 9.4 on.
    type: str
  scope:
    description:
      - Which definitions of the domain the task is about.
      - V(auto) is the running guest and its persistent configuration, or just the one that exists. The configuration
        always reaches the declaration, the running guest as far as it can; what remains is staged for the next boot,
        see RV(restart_required).
      - V(live) is the running guest alone, V(config) the persistent configuration alone, V(both) means both by name.
      - With V(live) and V(both), what the running guest can't be given is an error, RV(error_code=needs_restart).
    type: str
    choices: [auto, live, config, both]
    default: auto
  resize:
    description:
      - The directions in which O(requested) may move a device that exists.
      - With V(grow), a device that has more already is fine. With V(shrink), one that has less is.
      - With V(never), O(requested) is only used for a new device. A device that takes the place of another (O(replace))
        is not new. It gets what the other one had, unless O(resize) allows a change.
    type: str
    choices: [any, grow, shrink, never]
    default: any
  replace:
    description:
      - Whether a device of the running guest may be detached and attached again if something declared can't be
        changed otherwise.
      - Only for what can be unplugged, a dimm or (with QEMU 8.1) a virtio-mem device. Until it is back, the guest is
        without it.
      - Without it, such a change is staged for the next boot.
    type: bool
    default: false
  adopt:
    description:
      - What to do if no device has the declared O(alias) yet, but one that has no user alias fits everything that is
        declared.
      - With V(true), that device gets the alias, the configuration at once and the running guest at its next boot. No
        other device is attached.
      - With V(false), another device is attached.
      - Without a value, the task fails and names the device, since both can be meant. It makes no difference once a
        device has the alias.
    type: bool
"""
