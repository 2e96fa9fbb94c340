# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""The project's one exception, and every error code a result can carry.

The codes are a public contract: they are documented in the modules and in the troubleshooting guide,
and playbooks decide on them. The text of a message is not.
"""

from __future__ import annotations

import itertools
import typing as t

# code -> what it means; the documentation is checked against this table.
ERROR_CODES: dict[str, str] = {
    "access_denied": "The connection is read-only, or libvirt refused it or the operation.",
    "alias_conflict": "The alias belongs to a device of another model, or to a device that is no memory device.",
    "ambiguous_device": "Without an alias, more than one device fits what the task gives.",
    "changed_meanwhile": "Someone else changed the device between the read and the write, or during the wait.",
    "conflicting_setting": "A setting of the domain excludes the device, or limits the guest's memory below it.",
    "connection_failed": "The URI could not be opened.",
    "connection_lost": "The connection broke while the task ran.",
    "device_vanished": "The device left the running guest during the wait.",
    "domain_busy": "Another job holds the domain, and libvirt stopped waiting for it.",
    "domain_crashed": "The guest has crashed, so it can't answer.",
    "domain_not_found": "There is no domain of this name or UUID.",
    "domain_paused": "The domain was paused by an error, or suspended to memory; its guest can't answer.",
    "domain_stopped": "The domain stopped before the guest had the memory.",
    "domain_vanished": "The domain was undefined or went away while the task ran.",
    "domains_failed": "More than one domain of the layout failed; each has its own failure.",
    "guard_exceeded": "The plan goes beyond a guard of the task: it shrinks guests too far, or one device too low.",
    "guest_rejected_unplug": "The guest refused to give the device back.",
    "host_memory": "The host would have less memory left than the task's guards demand.",
    "insufficient_headroom": "The device does not fit under the domain's maxMemory.",
    "invalid_alias": "The alias has characters that libvirt would drop silently.",
    "invalid_block": "The block size is not a power of two, or too small.",
    "invalid_option": "An option has a value that can't be used, or one that contradicts another.",
    "invalid_quantity": "A size has no unit, is negative, not a whole number, or too large.",
    "invalid_xml": "The domain's XML could not be read.",
    "libvirt_error": "libvirt refused or failed the operation, with the code in `details.libvirt_code`.",
    "memory_above_devices": "The guest's devices can't hold what is declared for it in all.",
    "memory_below_boot": "Boot memory, DIMMs and devices that do not take part are more than what is declared in all.",
    "missing_dependency": "libvirt-python or lxml is missing on the managed node.",
    "missing_option": "The device does not exist yet, and the task lacks what is needed to create it.",
    "needs_restart": "An explicit live scope was asked for something a running guest can't be given.",
    "no_acpi": "The domain has no ACPI, through which DIMMs are plugged.",
    "no_free_slot": "The domain has no free memory slot, or not the one that was asked for.",
    "no_host_node": "The host has no such NUMA node.",
    "no_host_pages": "The host has no pages of this size, or not enough of them.",
    "no_max_memory": "The domain has no maxMemory, so it can't take any memory device.",
    "no_numa_node": "The domain has no such NUMA cell.",
    "not_aligned": "A size is not a multiple of what the device needs.",
    "not_converged": "The guest's actual size did not reach the requested one within the timeout.",
    "not_usable": "The guest has the memory plugged and can't use all of it: it is not online there.",
    "not_verified": "The guest's own word was required, and it has none.",
    "requested_exceeds_size": "The requested size is above the maximum size of the device.",
    "scope_unavailable": "The domain has no such scope: it is not running, or it is transient.",
    "task_interrupted": "The task was interrupted (Ctrl-C, SIGTERM) before everything was as declared.",
    "unsupported": "This libvirt or QEMU is too old for what the task asks.",
}


_MOST_NAMES = 2000  # that are compared: each takes some microseconds


def did_you_mean(name: str, names: t.Iterable[str], most: int = 3) -> str:
    """A question that proposes so many names that come near, the nearest first; empty if none does."""
    import difflib  # few tasks have a name that is wrong

    among = list(itertools.islice(names, _MOST_NAMES))
    found = difflib.get_close_matches(name[:255], among, n=most, cutoff=0.6)
    return f"Did you mean {' or '.join(found)}?" if found else ""


class VirtmemError(Exception):
    """What can't be done or went wrong, in a form that a playbook can decide on.

    Args:
        error_code: one of ERROR_CODES.
        msg: one sentence for people: the option, the value, the numbers.
        details: the numbers again, for machines; sizes are integers in bytes.
        hint: the way out.
    """

    def __init__(
        self,
        error_code: str,
        msg: str,
        details: t.Mapping[str, t.Any] | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(msg)
        self.error_code = error_code
        self.msg = msg
        self.details = dict(details or {})
        self.hint = hint


def unreadable(msg: str) -> VirtmemError:
    """The error of XML that libvirt would not write.

    Args:
        msg: what could not be read, and why.
    """
    hint = (
        "Look at it with virsh dumpxml (virsh capabilities, if it is the host's). If there is nothing wrong with it, "
        "report it with this message: https://github.com/virtmem/ansible-libvirt/issues."
    )
    return VirtmemError("invalid_xml", msg, {}, hint)
