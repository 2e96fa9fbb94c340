# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
"""Documentation of the option family that says how a task waits."""

from __future__ import annotations


class ModuleDocFragment:
    """How long to wait, how closely, and what is near enough."""

    DOCUMENTATION = r"""
options:
  wait:
    description:
      - Whether to wait until the guest's actual size is the requested one.
      - libvirt accepts a request in milliseconds and says nothing about the guest; without waiting, the task says
        nothing either. C(converged) of the device in the result tells how it was at the end of the task.
      - A task that finds everything as declared, but the guest still on its way, waits too.
      - Without waiting too, a virtio-mem device is left alone for two seconds before it is unplugged, since Linux can
        hang if its last memory has only just gone.
      - While it waits, a line on the terminal says every few seconds which guests are on their way, how much of the
        wanted memory each has, and since when nothing has moved. The variable C(virtmem_progress) says to whom, V(auto)
        (terminals only, the default), V(always) (logs of CI too) or V(never), as does C(VIRTMEM_PROGRESS) in the
        controller's environment; C(virtmem_progress_after) (V(3)) says after how many seconds for the first time, and
        C(virtmem_progress_every) (V(5)) how often. The lines go to standard error. The result has nothing of them. The
        same reader is told in a line at the end if what is declared waits for the guest's next start.
    type: bool
    default: true
  wait_timeout:
    description:
      - How many seconds to wait at most. Then the task fails with RV(error_code=not_converged), or
        RV(error_code=not_usable) if the guest has the memory plugged and can't use it.
      - The two seconds for which a virtio-mem device is left alone between being empty and being unplugged are not
        counted.
      - The wait ends earlier if it can't help, for example because the domain stopped.
    type: int
    default: 120
  wait_sleep:
    description:
      - How many seconds pass between two looks at the domain if libvirt sends no event. Events are acted on at once.
    type: int
    default: 1
  wait_tolerance:
    description:
      - How far from the requested size the actual one may be, as a quantity with a unit such as V(256MiB), or as a
        percentage of it such as V(5%).
    type: str
    default: "0"
  verify:
    description:
      - Whether the guest's own word counts. libvirt knows how much memory is plugged. Memory that nobody brings online
        in the guest is plugged too, and of no use. The statistics of the domain's balloon (C(memballoon)) tell how
        much memory the guest itself counts.
      - With V(auto), a running guest that grows is waited for until its own total has grown by what was plugged. If it
        never does, the task fails with RV(error_code=not_usable). If nobody polls the statistics, or only seldom (less
        than every 5 s), a task that changes the running guest has them polled every second as long as it lasts; the
        running domain's XML is then as before. A task that is killed leaves the polling on, which harms nobody; one
        that can't set it back says so in a warning. A task that finds nothing to do switches it on only if the guest's
        last word, however old, does not account for what is plugged.
      - With V(passive), only statistics that are polled anyway are used.
      - With V(required), a guest that says nothing of itself is an error too, RV(error_code=not_verified), before it
        is asked for anything.
      - With V(none), libvirt's word is enough.
      - Without the guest's own word C(usable) of the result is V(null), and C(reason) of C(guest) says why.
    type: str
    choices: [auto, passive, required, none]
    default: auto
"""
