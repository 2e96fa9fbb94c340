# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The three promises, whatever the order of declarations, outside changes and faults: on a model of libvirt.

1. Without an error, the guest has what was declared, by the model's own word.
2. The steps of check mode are the steps that are taken, and a second run takes none.
3. Nothing else changes: no other device, no element, no device that is taken from a guest unasked.
After any fault, a run without one ends in the declared state.
"""

from __future__ import annotations

import copy
import typing as t
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

pytest.importorskip("libvirt")

from ansible_collections.virtmem.libvirt.plugins.module_utils._apply import prepare, whole
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.job import Job, Order, Planned, Refused, Running
from ansible_collections.virtmem.libvirt.plugins.module_utils._apply.task import Patience
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import ABSENT, Declaration, Wish
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import ERROR_CODES, VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.support import Versions
from ansible_collections.virtmem.libvirt.plugins.module_utils._observe import Observer
from ansible_collections.virtmem.libvirt.tests.generating import SEED
from ansible_collections.virtmem.libvirt.tests.model import libvirt_model as model
from hypothesis import seed
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

KIB, MIB, GIB = 1024, 1024**2, 1024**3
UUID = "0b4fd5c6-2a36-4c1e-9d5a-4f6f2e1a7c31"
OTHER = "9d0cbe6e-0d0f-4a8e-8f54-3c0f4d4fd2b2"  # a second domain, of the same kind
OLD, NEW = Versions(9_000_000, 7_002_022), Versions(11_003_000, 10_000_002)
PATIENCE = Patience(timeout=12, sleep=1)

# With all that may be lost: a password, a foreign namespace, metadata, what no schema knows, devices of others.
DOMAIN = f"""<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web1</name><uuid>{UUID}</uuid><title>kept</title>
  <metadata><shop:rack xmlns:shop='urn:shop'>r1 &amp; r2</shop:rack></metadata>
  <maxMemory slots='5' unit='KiB'>{7 * GIB // KIB}</maxMemory>
  <memory unit='KiB'>0</memory><currentMemory unit='KiB'>{99 * GIB // KIB}</currentMemory>
  <vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
  <cpu><numa><cell id='0' cpus='0' memory='{GIB // KIB}' unit='KiB'/></numa></cpu>
  <future kind='1'>unknown</future>
  <devices>
    <controller type='pci' index='0' model='pcie-root'/>{"<controller type='pci' model='pcie-root-port'/>" * 3}
    <memory model='virtio-mem'><target><size unit='GiB'>2</size><node>0</node><block unit='MiB'>2</block>
      <requested unit='GiB'>1</requested></target><alias name='ua-other'/><driver iommu='on'/></memory>
    <memory model='dimm'><target><size unit='MiB'>768</size><node>0</node></target><future/></memory>
    <graphics type='vnc' passwd='s3cr3t'/><memballoon model='virtio'/>
  </devices>
  <qemu:commandline><qemu:arg value='-s'/></qemu:commandline>
</domain>"""

USUAL = {"ua-a": "virtio-mem", "ua-b": "virtio-mem", "ua-c": "dimm", "ua-d": "nvdimm"}
ALIASES = tuple(USUAL)
SIZES = (512 * MIB, GIB, 2 * GIB)


def canonical(element: ET.Element) -> str:
    """An element without white space and without what the guest moves."""
    bare = copy.deepcopy(element)
    for target in bare.iter("target"):
        for current in target.findall("current"):
            target.remove(current)
    return ET.canonicalize(ET.tostring(bare, encoding="unicode"), strip_text=True)


@dataclass
class Seen:
    """A domain at one moment, in both scopes: its memory devices, and the rest of its configuration."""

    scopes: dict[str, list[ET.Element] | None] = field(default_factory=dict)
    rest: str = ""
    balloon: int = 0  # what <currentMemory> leaves of <memory> in the configuration

    @classmethod
    def of(cls, machine: model.Machine, ready: bool) -> Seen:
        """As it is now; without what readiness may change where that is declared."""
        roots = {model.LIVE: machine.live, model.CONFIG: machine.config}
        seen = cls(
            {scope: None if root is None else copy.deepcopy(model.memories(root)) for scope, root in roots.items()}
        )
        if machine.config is not None:
            bare = copy.deepcopy(machine.config)
            devices = t.cast(ET.Element, bare.find("devices"))
            for element in (*model.memories(bare), *devices.findall("controller[@model='pcie-root-port']")):
                devices.remove(element)
            for stats in devices.findall("memballoon/stats"):
                t.cast(ET.Element, devices.find("memballoon")).remove(stats)
            for tag in ("memory", "currentMemory", *(("maxMemory",) if ready else ())):
                for element in bare.findall(tag):
                    bare.remove(element)
            seen.rest = canonical(bare)
            total, current = (model.number(machine.config, tag) for tag in ("memory", "currentMemory"))
            seen.balloon = (total or 0) - (current or 0)
        return seen


def find(devices: t.Sequence[ET.Element] | None, alias: str | None) -> ET.Element | None:
    """The device of this name."""
    return next((device for device in devices or () if model.alias_of(device) == alias), None)


# --- what is declared

_requests = st.sampled_from([0, 256 * MIB, 512 * MIB])


@st.composite
def wishes(draw: st.DrawFn, alias: str) -> Wish:
    """One device by this alias."""
    scope = draw(st.sampled_from(["auto"] * 9 + ["config", "live", "both"]))
    if draw(st.integers(0, 4)) == 0:
        return Wish(alias=alias, state=ABSENT, scope=scope)
    # Mostly the same model by the same alias; now and then another, which is refused.
    kind = draw(st.sampled_from([USUAL[alias]] * 8 + ["virtio-mem", "dimm", "nvdimm", "virtio-pmem"]))
    size = draw(st.sampled_from(SIZES))
    values: dict[str, t.Any] = {"model": kind, "size": size}
    if kind == "virtio-mem":
        values["requested"] = draw(_requests)
        values["block"] = draw(st.sampled_from([None, 2 * MIB, 2 * MIB, 4 * MIB]))
        values["resize"] = draw(st.sampled_from(["any"] * 5 + ["grow", "shrink", "never"]))
    if kind in ("nvdimm", "virtio-pmem"):
        values["path"] = f"/srv/{alias}"
    if kind != "virtio-pmem" and draw(st.booleans()):
        values["node"] = 0
    return Wish(alias=alias, scope=scope, replace=draw(st.integers(0, 4)) == 0, **values)


@st.composite
def declarations(draw: st.DrawFn) -> Declaration:
    """A device, or a whole layout."""
    aliases = draw(st.lists(st.sampled_from(ALIASES), min_size=1, max_size=3, unique=True))
    ready = draw(st.integers(0, 4)) == 0
    declared = tuple(draw(wishes(alias)) for alias in aliases)
    memory, resize = None, "any"
    if draw(st.integers(0, 3)) == 0:
        memory = GIB + draw(st.sampled_from([0, 256, 512, 1024, 2048, 255])) * MIB
        resize = draw(st.sampled_from(["any", "any", "any", "grow", "shrink", "never"]))
        # What takes part is declared without requested, or not at all.
        declared = tuple(
            replace(wish, requested=None if draw(st.booleans()) else wish.requested)
            for wish in declared
            if draw(st.integers(0, 2)) > 0
        )
    return Declaration(
        declared,
        memory=memory,
        resize=resize,
        exclusive=draw(st.integers(0, 9)) == 0,
        max_memory=draw(st.sampled_from([None, 16 * GIB, 32 * GIB])) if ready else None,
        slots=draw(st.sampled_from([None, 12])) if ready else None,
        spare_ports=draw(st.sampled_from([None, 2])) if ready else None,
        statistics_period=draw(st.sampled_from([None, None, None, None, 0, 5])),
    )


def named(declaration: Declaration, number: int) -> str:
    """The alias of a device that is declared, or of one that there may be."""
    aliases = [t.cast(str, wish.alias) for wish in declaration.wishes] or [ALIASES[0]]
    return aliases[number % len(aliases)]


# --- what goes wrong


def refuse(code: int) -> t.Callable[[model.Connection], None]:
    """libvirt says no."""

    def fault(_connection: model.Connection) -> None:
        raise model.Refused(code, "made to fail")

    return fault


def drop(connection: model.Connection) -> None:
    """The connection breaks."""
    connection.broken = True
    connection.wake()


def kill(_connection: model.Connection) -> None:
    """The module's process is killed."""
    raise model.Killed


def interrupt(connection: model.Connection) -> None:
    """Ctrl-C."""
    connection.interrupted = True
    connection.wake()


FAULTS = {
    "refused": (refuse(model.INTERNAL), False),
    "busy": (refuse(model.TIMEOUT), False),
    "dropped before": (drop, False),
    "dropped after": (drop, True),
    "killed before": (kill, False),
    "killed after": (kill, True),
    "interrupted": (interrupt, False),
}
OUTCOMES: Counter[str] = Counter()
MEDDLING = ("stop", "pause", "break", "request", "detach", "attach", "undefine", "reset", "sleep")


class Promises(RuleBasedStateMachine):
    """One domain over a long time."""

    def __init__(self) -> None:
        super().__init__()
        self.libvirt = model.Libvirt()

    @property
    def machine(self) -> model.Machine:
        """The domain."""
        return self.libvirt.machines[UUID]

    @initialize(new=st.booleans(), running=st.booleans())
    def begin(self, new: bool, running: bool) -> None:
        """A domain on an old or a new hypervisor."""
        self.libvirt.known = NEW if new else OLD
        self.libvirt.define(DOMAIN)
        self.libvirt.define(DOMAIN.replace(UUID, OTHER).replace("web1", "web2"))
        if running:
            self.libvirt.start(UUID)
            self.libvirt.start(OTHER)
            self.libvirt.advance(self.libvirt.now + 10)

    # --- the outside

    @rule(guest=st.sampled_from(["driver", "driver", "nodriver", "pinned", "offline"]))
    def guest_changes(self, guest: str) -> None:
        """Another guest, or the same with another kernel."""
        self.machine.guest = guest
        self.libvirt.answer(UUID)

    @rule()
    def restart(self) -> None:
        """Stopped if it runs, and started where libvirt can."""
        if self.machine.live is not None:
            self.libvirt.stop(UUID)
        try:
            self.libvirt.start(UUID)
        except model.Refused:
            return
        self.libvirt.advance(self.libvirt.now + 10)

    @rule(what=st.sampled_from(["stop", "pause", "break", "resume", "reset", "sleep"]))
    def state_changes(self, what: str) -> None:
        """Stopped, paused or resumed by someone."""
        self.meddle(what)

    @rule(what=st.sampled_from(["request", "detach", "attach"]), alias=st.sampled_from(ALIASES))
    def others_change(self, what: str, alias: str) -> None:
        """Someone else uses virsh."""
        self.meddle(what, alias)
        self.libvirt.advance(self.libvirt.now + 5)

    def meddle(self, what: str, alias: str = "ua-a") -> None:
        """What virsh would do, if libvirt lets it."""
        if UUID not in self.libvirt.machines:
            return
        machine = self.machine
        try:
            if what == "stop":
                self.libvirt.stop(UUID)
            elif what in ("pause", "break"):
                self.libvirt.suspend(UUID, error=what == "break")
            elif what == "resume":
                self.libvirt.resume(UUID)
            elif what == "undefine":
                self._undefine(machine)
            elif what == "reset":
                self.libvirt.reset(UUID)
            elif what == "sleep" and machine.live is not None:
                machine.state = "pmsuspended"
                self.libvirt.tell(UUID)
            else:
                self._change(machine, what, alias)
        except model.Refused:
            return

    def _undefine(self, machine: model.Machine) -> None:
        text = model.dumped(machine.config, secure=True) if machine.config is not None else ""
        machine.config = None
        if machine.live is None:
            del self.libvirt.machines[UUID]
        self.libvirt.tell(UUID)
        if text:
            # Whoever took it away brings it back, after the task.
            self.undefined = text

    undefined: str = ""
    was_offline: int = 0  # what of the guest's memory was plugged and not online before a task
    foreseen: tuple[object, ...] = ()  # the steps of the last check mode

    def _change(self, machine: model.Machine, what: str, alias: str) -> None:
        for scope, root in ((model.LIVE, machine.live), (model.CONFIG, machine.config)):
            if root is None:
                continue
            device = find(model.memories(root), alias)
            if what == "attach" and device is None:
                self.libvirt.attach(
                    UUID,
                    scope,
                    f"<memory model='virtio-mem'><target><size unit='GiB'>1</size><node>0</node><block unit='MiB'>2"
                    f"</block><requested unit='MiB'>64</requested></target><alias name='{alias}'/></memory>",
                )
            elif what == "request" and device is not None and device.get("model") == "virtio-mem":
                asked = copy.deepcopy(device)
                model.set_number(t.cast(ET.Element, asked.find("target")), "requested", 128 * MIB // KIB)
                self.libvirt.update(UUID, scope, ET.tostring(asked, encoding="unicode"))
            elif what == "detach" and device is not None:
                if scope == model.CONFIG:
                    self.libvirt.detach(UUID, scope, ET.tostring(device, encoding="unicode"))
                elif device.get("model") in ("dimm", "virtio-mem"):
                    self.libvirt.remove(machine, device)

    # --- the tasks

    @rule(
        declaration=declarations(),
        loses_events=st.booleans(),
        verify=st.sampled_from(["auto", "auto", "passive", "required", "none"]),
    )
    def undisturbed(self, declaration: Declaration, loses_events: bool, verify: str) -> None:
        """A task that nobody and nothing disturbs."""
        self.libvirt.advance(self.libvirt.now + 10)
        # QEMU takes no request of a device that a guest was asked for and has not given back.
        refusals = ("libvirt_error",) if self.machine.leaving else ()
        job = self.task(declaration, loses_events=loses_events, verify=verify)
        if job is None or job.plan is None:
            return
        if verify == "required" and job.error is not None and job.error.error_code == "not_verified":
            # Nothing is touched then, unless the wait ended before the next report of whoever else polls was due.
            assert not job.done or (job.witness.is_outdated and not job.witness.polled), job.witness
            return
        able = (
            self.machine.guest == "driver" and not self.machine.offline and self.machine.state in ("running", "shutoff")
        )
        assert not (able and job.error), (job.error and job.error.msg, declaration)
        if job.error is not None:
            reasons = ("not_converged", "not_usable", "guest_rejected_unplug", *refusals)
            assert job.error.error_code in reasons, job.error.msg
            assert job.error.error_code != "not_usable" or self.machine.offline, job.error.details
        foreseen = self.foreseen
        assert tuple(job.steps) == foreseen
        assert job.error or tuple(job.done) == foreseen
        if job.error is None:
            self.repeat(declaration)

    @rule(
        declaration=declarations(),
        fault=st.sampled_from(sorted(FAULTS)),
        at=st.integers(1, 30),
    )
    def faulty(self, declaration: Declaration, fault: str, at: int) -> None:
        """A task to which something happens; when the cause is gone, it is run again."""
        action, after = FAULTS[fault]
        self.task(declaration, [model.Fault(at, action, after)])
        self.recover(declaration)

    @rule(declaration=declarations())
    def disk_is_full(self, declaration: Declaration) -> None:
        """libvirt can't write any configuration."""
        self.libvirt.config_refused = True
        self.task(declaration)
        self.recover(declaration)

    @rule(declaration=declarations())
    def nothing_is_heard(self, declaration: Declaration) -> None:
        """The daemon takes no registration for events: nothing is asked of a guest that could not be heard."""
        before = Seen.of(self.machine, ready=False).scopes[model.LIVE]
        job = self.task(declaration, refusals={("watch", "events"): model.INTERNAL})
        if job is not None and job.error is None and job.done:
            assert all(step.until is None for step in job.done)
        if job is not None and job.error is not None and job.error.details.get("op") == "watch":
            after = Seen.of(self.machine, ready=False).scopes[model.LIVE]
            assert [canonical(item) for item in before or ()] == [canonical(item) for item in after or ()]
        self.recover(declaration)

    @rule(declaration=declarations(), spoiled=st.booleans())
    def saved_to_disk(self, declaration: Declaration, spoiled: bool) -> None:
        """A guest that waits in a managed-save image: its configuration is planned for, if the image can be read."""
        try:
            self.libvirt.save(UUID, spoiled)
        except model.Refused:
            return
        before = Seen.of(self.machine, declaration.readies)
        job = self.task(declaration)
        assert job is not None
        if spoiled:
            assert job.error is not None, "what a start brings back is not known"
            assert not job.done
            now = Seen.of(self.machine, declaration.readies)
            assert now.rest == before.rest
            self.machine.image = self.machine.saved = None  # someone removes what can't be read
        elif job.error is None and any(step.scope == model.CONFIG for step in job.done):
            assert job.plan is not None
            assert job.plan.warnings, "the next start brings back something else"
        self.recover(declaration)

    @rule(
        declaration=declarations(),
        what=st.sampled_from(MEDDLING),
        number=st.integers(0, 2),
        at=st.integers(3, 18),
    )
    def disturbed(self, declaration: Declaration, what: str, number: int, at: int) -> None:
        """A task while someone else is at the domain, mostly at the very device."""
        alias = named(declaration, number)
        fault = model.Fault(at, lambda _connection: self.meddle(what, alias))
        self.task(declaration, [fault], meddled=True)
        if self.undefined:
            self.libvirt.define(self.undefined)
            self.undefined = ""
        self.recover(declaration)

    @rule(declaration=declarations(), code=st.sampled_from([model.INTERNAL, model.OPERATION_FAILED]))
    def no_device_is_taken(self, declaration: Declaration, code: int) -> None:
        """libvirt takes no new device for the running guest, also not for one that it has just lost."""
        self.libvirt.advance(self.libvirt.now + 10)
        before = Seen.of(self.machine, ready=False).scopes[model.LIVE]
        job = self.task(declaration, refusals={("attach", model.LIVE): code})
        if job is not None and job.error is not None and job.done:
            after = Seen.of(self.machine, ready=False).scopes[model.LIVE]
            for wish in declaration.wishes:
                if wish.replace and find(before, wish.alias) is not None and find(after, wish.alias) is None:
                    assert str(wish.alias) in job.error.msg, job.error.msg
                    assert job.error.details["half_replaced"]["state"] == "gone"
        self.recover(declaration)

    @rule(
        mine=declarations(),
        others=declarations(),
        what=st.sampled_from(["stop", "reset", "pause", "sleep", "request"]),
        seconds=st.floats(0.5, 10),
        slow=st.booleans(),
    )
    def together(self, mine: Declaration, others: Declaration, what: str, seconds: float, slow: bool) -> None:
        """A task over two domains, one of which may answer late, while something happens to the other."""
        self.libvirt.advance(self.libvirt.now + 10)
        if OTHER not in self.libvirt.machines or UUID not in self.libvirt.machines:
            return
        late = self.libvirt.machines[OTHER]
        late.guest = "nodriver" if slow else "driver"

        def wakes() -> None:
            late.guest = "driver"
            self.libvirt.answer(OTHER)

        alias = named(mine, 0)
        self.libvirt.later(seconds, lambda: self.meddle(what, alias))
        self.libvirt.later(seconds + 1, wakes)
        connection = model.Connection(self.libvirt)
        observer = Observer(t.cast(t.Any, connection))
        prepared = prepare.prepare(observer, [Order("web1", mine), Order("web2", others)], PATIENCE)
        jobs = [Running(job) for job in prepared if isinstance(job, Planned)]
        if len(jobs) == len(prepared):
            whole.apply(observer, jobs, PATIENCE, self.libvirt_clock)
            for job in jobs:
                if job.error is not None:
                    self.declared_error(job.error)
                else:
                    self.there(job)
            OUTCOMES["together, " + ("red" if any(job.error for job in jobs) else "green")] += 1
        else:
            assert not connection.log, "a task that is refused for one domain changes none"
        connection.close()
        self.libvirt.advance(self.libvirt.now + 20)
        self.recover(mine)

    def there(self, job: Running) -> None:
        """A guest of a green task has what is requested of it, at this very moment."""
        machine = self.libvirt.machines[job.uuid]
        devices = model.memories(machine.live) if machine.live is not None else []
        for wish in job.order.declaration.wishes:
            device = find(devices, wish.alias)
            if device is None or device.get("model") != "virtio-mem" or wish.scope == "config":
                continue
            asked, current = (model.number(device, f"target/{name}") or 0 for name in ("requested", "current"))
            if wish.requested is not None and wish.resize == "any":
                assert current == asked, (wish, asked, current)

    # --- one task

    def task(
        self,
        declaration: Declaration,
        faults: t.Sequence[model.Fault] = (),
        meddled: bool = False,
        loses_events: bool = False,
        refusals: t.Mapping[tuple[str, str], int] | None = None,
        verify: str = "auto",
    ) -> Job | None:
        """One task, in check mode and for real. None if it was killed, or did not get as far as a job."""
        ready = declaration.readies
        polled = self.polling()
        before, self.was_offline = Seen.of(self.machine, ready), self.machine.offline
        order = Order("web1", declaration)
        foreseen = self.foresee(order, verify)
        connection = model.Connection(self.libvirt, faults, loses_events, refusals or {})
        patience = Patience(timeout=12, sleep=1, interrupted=lambda: connection.interrupted, verify=verify)
        began = self.libvirt.now
        job: Job | None = None
        try:
            observer = Observer(t.cast(t.Any, connection))
            job = prepared = prepare.prepare(observer, [order], patience)[0]
            if not faults:
                assert (job.plan and job.plan.steps) == (foreseen.plan and foreseen.plan.steps)
            if isinstance(prepared, Refused):
                assert not connection.log, "a task that is refused changes nothing"
            else:
                job = running = Running(prepared)
                through, asked = prepare.is_through(prepared, patience), connection.calls
                whole.apply(observer, [running], patience, self.libvirt_clock)
                assert not through or (running.error is None and connection.calls == asked), (
                    "the modules leave out what would do nothing, and look at nothing"
                )
                OUTCOMES["through"] += through
        except VirtmemError as error:
            if not faults:
                raise
            self.declared_error(error)  # the hypervisor itself did not answer
            job = None
        except model.Killed:
            job = None
        finally:
            connection.close()
        assert self.libvirt.now - began < PATIENCE.timeout + 5
        if job is not None and not connection.broken and not meddled and self.machine.live is not None:
            # What a task whose connection broke has left on stays as it is.
            if job.witness.left_on is None:
                assert self.polling() in (polled, declaration.statistics_period or 0), (
                    "a task's own polling ends with it"
                )
            else:
                assert faults, "it says that it could not end it"
        if UUID not in self.libvirt.machines:
            assert job is None or job.error is not None or not job.steps
            return job
        OUTCOMES[
            "nothing" if job is None else job.error.error_code if job.error else "done" if job.done else "as it was"
        ] += 1
        self.judge(job, before, declaration, connection, meddled)
        return job

    def polling(self) -> int:
        """How often the running guest's statistics are polled, in seconds."""
        live = self.machine.live
        stats = None if live is None else live.find("devices/memballoon/stats")
        return 0 if stats is None else int(stats.get("period", "0"))

    def judge(
        self, job: Job | None, before: Seen, declaration: Declaration, connection: model.Connection, meddled: bool
    ) -> None:
        """What a task has left behind, and what it said of it."""
        if not meddled:
            self.nothing_else(before, declaration, connection)
        if job is not None and job.error is not None:
            self.declared_error(job.error)
        elif job is not None:
            # What someone does after a task's last look, the task can't know.
            if not (meddled and any(fault.at > connection.looked for fault in connection.faults)):
                self.delivered(declaration, job)
            if not meddled:
                self.kept(before, declaration)

    def kept(self, before: Seen, declaration: Declaration) -> None:
        """What `resize` does not allow to take, or to add to, is as it was, in a device that was replaced too."""
        now = Seen.of(self.machine, ready=False)
        for wish in declaration.wishes:
            for scope in (model.LIVE, model.CONFIG):
                old, new = find(before.scopes[scope], wish.alias), find(now.scopes[scope], wish.alias)
                if old is None or new is None or new.get("model") != "virtio-mem" or old.get("model") != "virtio-mem":
                    continue
                had, has = (model.number(device, "target/requested") or 0 for device in (old, new))
                # What an interrupted replacement had emptied comes back from the configuration.
                if had == 0 and scope == model.LIVE and wish.replace:
                    continue
                allowed = {"any": True, "grow": has >= had, "shrink": has <= had, "never": has == had}
                assert allowed[wish.resize], (scope, had, has, wish)

    def foresee(self, order: Order, verify: str = "auto") -> Planned | Refused:
        """What check mode shows; it changes nothing."""
        checking = model.Connection(self.libvirt)
        patience = PATIENCE._replace(verify=verify)
        foreseen = prepare.prepare(Observer(t.cast(t.Any, checking)), [order], patience)[0]
        assert not checking.log
        checking.close()
        self.foreseen = foreseen.steps
        return foreseen

    def libvirt_clock(self) -> float:
        """The model's time."""
        return self.libvirt.now

    @staticmethod
    def declared_error(error: VirtmemError) -> None:
        """On the list, with a hint."""
        assert error.error_code in ERROR_CODES
        assert error.error_code != "invalid_xml"
        assert error.hint

    def repeat(self, declaration: Declaration) -> None:
        """A second run takes no step."""
        connection = model.Connection(self.libvirt)
        again = prepare.prepare(Observer(t.cast(t.Any, connection)), [Order("web1", declaration)], PATIENCE)[0]
        connection.close()
        assert again.error is None, again.error and again.error.msg
        assert again.steps == (), again.steps

    def recover(self, declaration: Declaration) -> None:
        """The cause is gone: the guest answers, the disk has room. Now the task must come to its end."""
        self.libvirt.config_refused = False
        self.machine.guest, self.machine.offline = "driver", 0
        if self.machine.state == "pmsuspended":
            self.machine.state = "paused"
        self.libvirt.resume(UUID)
        self.libvirt.answer(UUID)
        self.libvirt.advance(self.libvirt.now + 10)
        job = self.task(declaration)
        assert job is not None
        if job.error is not None:
            # What it is refused for must have been so all along, or be what someone else did.
            assert job.plan is None or not job.done, (
                f"{job.error.msg} {job.error.details} done: {[(s.op, s.scope, s.xml) for s in job.done]}"
            )
            assert job.plan is None, job.error.msg
            return
        assert tuple(job.done) == self.foreseen
        self.repeat(declaration)

    # --- the promises

    def delivered(self, declaration: Declaration, job: Job) -> None:
        """What the model says, against what was declared."""
        now = Seen.of(self.machine, ready=False)
        if job.witness.word.verdict.usable:
            # A little that was there before can't be told from what a kernel keeps for itself.
            assert self.machine.offline <= max(self.was_offline, 112 * model.MIB), self.machine.offline
        for wish in declaration.wishes:
            live, config = (find(now.scopes[scope], wish.alias) for scope in (model.LIVE, model.CONFIG))
            runs, stored = now.scopes[model.LIVE] is not None, now.scopes[model.CONFIG] is not None
            reasons = [
                reason for plan in job.devices if plan.wish.alias == wish.alias for reason in plan.restart_reasons
            ]
            strict = wish.scope in ("live", "both")
            assert not (strict and reasons)
            if stored and wish.scope != "live":
                self.has(config, wish, model.CONFIG)
            if runs and wish.scope != "config" and not reasons:
                self.has(live, wish, model.LIVE)
            if runs and wish.scope != "config" and live is not None and wish.requested is not None:
                asked, current = (model.number(live, f"target/{name}") for name in ("requested", "current"))
                if live.get("model") == "virtio-mem" and wish.resize == "any":
                    assert asked == current, (asked, current, wish)

        self.in_all(declaration, job, now)

    @staticmethod
    def in_all(declaration: Declaration, job: Job, now: Seen) -> None:
        """What the guest has in all, where that is declared and nothing holds any of it."""
        limited = any(wish.resize != "any" or wish.scope != "auto" for wish in declaration.wishes)
        if declaration.memory is None or declaration.resize != "any" or limited or job.plan is None:
            return
        for scope, devices in now.scopes.items():
            if devices is None or (scope == model.LIVE and job.plan.restart_reasons):
                continue
            path = "target/requested" if scope == model.CONFIG else "target/current"
            sizes = {
                "dimm": sum(model.size_of(item) for item in devices if item.get("model") == "dimm"),
                "virtio-mem": sum(
                    model.number(item, path) or 0 for item in devices if item.get("model") == "virtio-mem"
                ),
            }
            has = GIB + sum(sizes.values()) * KIB
            assert declaration.memory <= has < declaration.memory + 4 * MIB, (scope, has, declaration)

    @staticmethod
    def has(device: ET.Element | None, wish: Wish, scope: str) -> None:
        """One side of one device."""
        if wish.state == ABSENT:
            assert device is None, (scope, wish)
            return
        assert device is not None, (scope, wish)
        assert device.get("model") == wish.model
        assert model.size_of(device) * KIB == wish.size
        for name, path in (("block", "target/block"),):
            wanted = getattr(wish, name)
            assert wanted is None or (model.number(device, path) or 0) * KIB == wanted
        assert wish.path is None or device.findtext("source/path") == wish.path
        if wish.requested is not None:
            asked = (model.number(device, "target/requested") or 0) * KIB
            allowed = {
                "any": asked == wish.requested,
                "grow": asked >= wish.requested,
                "shrink": asked <= wish.requested,
                "never": True,
            }
            assert allowed[wish.resize], (scope, asked, wish)

    def nothing_else(self, before: Seen, declaration: Declaration, connection: model.Connection) -> None:
        """Whatever was not declared is as it was."""
        now = Seen.of(self.machine, declaration.readies)
        assert now.rest == before.rest
        # The balloon is not what pays for a device, neither here nor at the next boot.
        assert now.balloon == before.balloon
        for scope in (model.LIVE, model.CONFIG):
            old, new = before.scopes[scope], now.scopes[scope]
            assert (old is None) == (new is None)
            if declaration.exclusive:
                continue
            others = [
                [
                    canonical(self.unsized(item, declaration))
                    for item in side or ()
                    if self.is_other(item, declaration) and not self.joins(item, before, declaration)
                ]
                for side in (old, new)
            ]
            assert others[0] == others[1]
            # An element that nobody knows stays in a device that stays.
            for device in old or ():
                after = find(new, model.alias_of(device))
                if after is not None and device.find("future") is not None:
                    assert after.find("future") is not None
        may_go = {wish.alias for wish in declaration.wishes if wish.state == ABSENT or wish.replace}
        for what, of in connection.log:
            assert what != "unplug" or of in may_go or declaration.exclusive, (of, declaration)

    @staticmethod
    def is_other(device: ET.Element, declaration: Declaration) -> bool:
        """Whether nobody declares it, nor was it made for the memory that is declared."""
        alias = model.alias_of(device)
        made = declaration.memory is not None and (alias or "").startswith("ua-mem")
        return not made and all(alias != wish.alias for wish in declaration.wishes)

    @staticmethod
    def joins(device: ET.Element, before: Seen, declaration: Declaration) -> bool:
        """Whether only one scope had it, so that a memory that is declared brings it into the other."""
        sides = [find(side, model.alias_of(device)) for side in before.scopes.values()]
        return declaration.memory is not None and device.get("model") == "virtio-mem" and None in sides

    @staticmethod
    def unsized(device: ET.Element, declaration: Declaration) -> ET.Element:
        """A device as it must stay: what is requested of it moves if it takes part in the memory that is declared."""
        bare = copy.deepcopy(device)
        target, requested = bare.find("target"), bare.find("target/requested")
        if declaration.memory is not None and target is not None and requested is not None:
            target.remove(requested)
        return bare

    @invariant()
    def the_sums_are_right(self) -> None:
        """libvirt's own accounting."""
        for machine in self.libvirt.machines.values():
            for root in (machine.config, machine.live):
                if root is not None:
                    total = GIB // KIB + sum(map(model.size_of, model.memories(root)))
                    assert model.number(root, "memory") == total
                    assert (model.number(root, "currentMemory") or 0) <= total


def test_the_promises_hold() -> None:
    run: t.Any = run_state_machine_as_test
    run(seed(SEED)(Promises))
    print(dict(OUTCOMES.most_common()))
    # It is worth nothing if hardly anything is ever done.
    total = sum(OUTCOMES.values())
    if total > 500:
        assert OUTCOMES["done"] > total / 10, OUTCOMES
        assert OUTCOMES["through"], OUTCOMES
        assert len(OUTCOMES) >= 8, OUTCOMES
