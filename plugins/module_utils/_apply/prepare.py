# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What a task has to do: reads every domain and plans for it. Nothing is changed here, and check mode ends here."""

from __future__ import annotations

import contextlib
import typing as t

from .._libvirt.connection import Hypervisor, Reading
from .._memory import identity, models
from .._memory.device import Domain, Host, HostMemory
from .._memory.errors import VirtmemError
from .._memory.plan.domain import plan_domain
from .._memory.plan.step import Circumstances, Plan
from .._memory.rules.around import held
from .._memory.xml import reading
from .._observe import Observer, decode
from .hearing import first_word, must_listen
from .job import Order, Planned, Refused, has_all
from .task import Patience

if t.TYPE_CHECKING:
    from .._memory.plan.guards import Guards


def prepare(observer: Observer, orders: t.Sequence[Order], patience: Patience) -> list[Planned | Refused]:
    """Reads every domain and plans for it. Nothing is changed; what speaks against a plan is in `error`.

    Raises:
        VirtmemError: the hypervisor itself does not answer.
    """
    circumstances = _circumstances(observer.hypervisor, orders, patience)
    taken: set[str] = set()  # the domains of the orders before
    return [_plan(observer, order, circumstances, patience, taken) for order in orders]


def is_through(job: Planned, patience: Patience) -> bool:
    """Whether nothing is left to do for the domain, and nothing to wait for: to apply its plan would do nothing."""
    return not job.steps and has_all(job, patience.tolerance) and not must_listen(job, patience)


def judge(
    hypervisor: Hypervisor, plans: t.Sequence[Plan], guards: Guards | None
) -> tuple[VirtmemError | None, list[str]]:
    """What of the plans is beyond a guard, and what to know of them all the same; judged in the read of the plans.

    Raises:
        VirtmemError: the hypervisor itself does not answer.
    """
    changes = any(plan.steps for plan in plans)
    if guards is None and not changes:
        return None, []
    from .._memory.plan.guards import NO_GUARDS, warnings
    from .._memory.plan.guards import judge as judge_plans

    guards = guards or NO_GUARDS
    memory = _host_memory(hypervisor, guards.host_reserve is not None) if changes else None
    total = _total(hypervisor, plans) if guards.max_shrink is not None else 0
    problem = judge_plans(plans, guards, total, memory)
    return problem, warnings(plans, memory) if memory is not None and problem is None else []


def _host_memory(
    hypervisor: Hypervisor, is_needed: bool, nodes: t.Iterable[int] = (), pages: t.Sequence[int] = ()
) -> HostMemory | None:
    """The host's memory; None if its driver can't tell, unless a guard needs it."""
    try:
        return hypervisor.host_memory(nodes, pages)
    except VirtmemError as error:
        if is_needed or error.error_code != "libvirt_error":
            raise
        return None


def _total(hypervisor: Hypervisor, plans: t.Sequence[Plan]) -> int:
    """What all memory devices of the host may use, in bytes: those of the task's domains, and those of all others.

    A domain that another job holds is not waited for longer than a survey does, and one that can't be read does not
    count: the share that shrinks is the larger for it, so the guard is the stricter.
    """
    from .._survey import TIMEOUT, read_all

    known = {plan.domain.uuid: plan.domain for plan in plans}
    others = [listed for listed in hypervisor.list_domains() if listed.uuid not in known]
    for listed, answer in read_all(hypervisor, others, TIMEOUT):
        with contextlib.suppress(VirtmemError):
            if isinstance(answer, Reading):
                known[listed.uuid] = decode(answer)
    return sum(max(held(live), held(config)) for domain in known.values() for live, config in identity.pairs(domain))


def _plan(
    observer: Observer,
    order: Order,
    circumstances: Circumstances,
    patience: Patience,
    taken: set[str],
) -> Planned | Refused:
    hypervisor, observed = observer.hypervisor, None
    try:
        uuid = _find(hypervisor, order, taken)
        observed = observer.observe(uuid)
        circumstances = _for_domain(hypervisor, circumstances, observed)
        plan = plan_domain(observed, order.declaration, circumstances)
        return Planned(order, uuid, circumstances, plan, first_word(hypervisor, uuid, plan, patience))
    except VirtmemError as error:
        return Refused(order, error, observed)


def _find(hypervisor: Hypervisor, order: Order, taken: set[str]) -> str:
    uuid = hypervisor.find(order.domain)
    if uuid in taken:
        raise VirtmemError(
            "invalid_option",
            f"domains: {order.domain} is declared more than once.",
            {"option": "domains", "value": order.domain, "uuid": uuid},
            "Declare each domain once, with all its devices.",
        )
    taken.add(uuid)
    return uuid


def _circumstances(hypervisor: Hypervisor, orders: t.Sequence[Order], patience: Patience) -> Circumstances:
    """What plans on this hypervisor depend on. The host is only asked for what a wish needs of it."""
    wishes = [wish for order in orders for wish in order.declaration.wishes]
    sgx = any(models.facts(wish.model).host_feature for wish in wishes)
    host: Host | None = None
    if sgx or any(wish.nodemask is not None or wish.pagesize is not None for wish in wishes):
        host = _host(hypervisor, sgx)
    return Circumstances(hypervisor.versions(), host, patience.wait)


def _host(hypervisor: Hypervisor, sgx: bool = False) -> Host:
    """The host's nodes and pages, with what is free of its pools if its driver can tell."""
    host = reading.read_host(hypervisor.capabilities(), hypervisor.domain_capabilities() if sgx else None)
    pools = sorted(host.page_sizes - {host.smallest_page})
    memory = _host_memory(hypervisor, False, host.pages, pools) if pools else None
    return host._replace(free=memory.free_pages) if memory is not None and memory.free_pages else host


def _for_domain(hypervisor: Hypervisor, circumstances: Circumstances, domain: Domain) -> Circumstances:
    """What a plan for this domain depends on: the host's pools too, if the domain's memory is from them."""
    scopes = (domain.live, domain.config)
    huge = any(definition.around.huge_pages for definition in scopes if definition is not None)
    return circumstances._replace(host=_host(hypervisor)) if huge and circumstances.host is None else circumstances
