# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What a domain must be able to do: have the scope that is asked for, and a guest that answers."""

from __future__ import annotations

from ..device import CONFIG, LIVE, Domain
from ..errors import VirtmemError


def check_scope(domain: Domain, asked: str) -> VirtmemError | None:
    """An explicit scope must exist."""
    missing = None
    if asked in (LIVE, "both") and domain.live is None:
        missing = (LIVE, "is not running", "Start it, or use scope config or auto.")
    elif asked in (CONFIG, "both") and domain.config is None:
        missing = (CONFIG, "is transient", "Use scope live or auto; what is transient is gone when it stops.")
    if missing is None:
        return None
    name, state, hint = missing
    return VirtmemError(
        "scope_unavailable",
        f"scope: {asked} needs the {name} definition, but domain {domain.name} {state}.",
        {"option": "scope", "value": asked, "state": domain.state, "persistent": domain.persistent},
        hint,
    )


def check_answering(domain: Domain) -> VirtmemError | None:
    """A guest that has to do something must be able to."""
    details = {"domain": domain.name, "state": domain.state}
    if domain.state == "crashed":
        return VirtmemError(
            "domain_crashed",
            f"The guest of domain {domain.name} has crashed, so it can't answer.",
            details,
            "Find the cause, reset or restart the domain, and run the task again.",
        )
    if domain.state == "pmsuspended":
        return VirtmemError(
            "domain_paused",
            f"The guest of domain {domain.name} has suspended itself to memory, so it can't answer.",
            details,
            f"Wake it (virsh dompmwakeup {domain.name}), and run the task again.",
        )
    if domain.error_paused:
        return VirtmemError(
            "domain_paused",
            f"Domain {domain.name} was paused by an error, so its guest can't answer.",
            details,
            "Find the cause in the domain's log, resume the domain, and run the task again.",
        )
    return None
