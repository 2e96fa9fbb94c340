# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Documentation of the option family that says which hypervisor is meant."""

from __future__ import annotations


class ModuleDocFragment:
    """How to reach the hypervisor."""

    DOCUMENTATION = r"""
options:
  uri:
    description:
      - The libvirt URI of the hypervisor, as seen from the managed node.
      - Any URI that libvirt knows will do, also a remote one such as V(qemu+ssh://root@hv1/system),
        V(qemu+tls://hv1/system) or V(qemu+unix:///session?socket=/run/user/1000/libvirt/libvirt-sock).
    type: str
    default: qemu:///system
"""
