# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A model of libvirt with QEMU guests, as far as memory devices go: XML, refusals, guests, and a clock of its own.

It knows nothing of the code under test. `Libvirt` is the daemon with its guests, `Connection` what `_apply` has
of it. test_model_on_lab.py compares it with the real one.
"""

from __future__ import annotations

import copy
import functools
import heapq
import itertools
import re
import threading
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field, replace

from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt import calls
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt import connection as _libvirt
from ansible_collections.virtmem.libvirt.plugins.module_utils._libvirt.events import REBOOTED, REJECTED, Event
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import HostMemory, Statistics
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.support import Versions

ET.register_namespace("qemu", "http://libvirt.org/schemas/domain/qemu/1.0")

# libvirt's error codes.
INTERNAL, INVALID_ARG, OPERATION_FAILED, XML_ERROR, XML_DETAIL, SYSTEM_ERROR = 1, 8, 9, 27, 35, 38
NO_DOMAIN, OPERATION_INVALID, UNSUPPORTED, TIMEOUT, DEVICE_MISSING = 42, 55, 67, 68, 99

LIVE, CONFIG = SCOPES = ("live", "config")
DIMMS, VIRTIO = ("dimm", "nvdimm"), ("virtio-mem", "virtio-pmem")
MIB = 1024  # KiB, as everything here
MOST_OFFLINE = 1024 * MIB  # what a virtio-mem driver plugs of memory that nobody brings online
TIDIES = 1.0  # seconds that a guest takes its last memory block away, after QEMU has the device as empty
_UNITS = {"b": 1 / 1024, "bytes": 1 / 1024, "KiB": 1, "MiB": 1024, "GiB": 1024**2, "TiB": 1024**3}
_SCALED = ("size", "block", "requested", "current", "pagesize", "alignsize", "memory", "maxMemory", "currentMemory")
_USER_ALIAS = re.compile(r"ua-[A-Za-z0-9_-]+")


class Refused(Exception):
    """libvirt's own error, with the interface of libvirt.libvirtError as far as it is translated by it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    def get_error_code(self) -> int:
        """VIR_ERR_..."""
        return self.code

    def get_error_domain(self) -> int:
        """The QEMU driver."""
        return 10

    def get_error_message(self) -> str:
        """What went wrong."""
        return str(self)


class Killed(BaseException):
    """The process of the module was killed, as by SIGKILL: nothing of it runs any longer."""


# --- elements


def number(element: ET.Element | None, path: str) -> int | None:
    """KiB of the scaled element at this path, or a bare number."""
    found = element.find(path) if element is not None else None
    if found is None:
        return None
    return -int(-int((found.text or "0").strip()) * _UNITS[found.get("unit", "KiB")] // 1)


def size_of(device: ET.Element) -> int:
    """The size of a memory device in KiB."""
    return number(device, "target/size") or 0


def alias_of(device: ET.Element) -> str | None:
    """The name of a device."""
    found = device.find("alias")
    return None if found is None else found.get("name")


def memories(root: ET.Element) -> list[ET.Element]:
    """The memory devices of a domain."""
    return root.findall("devices/memory")


def set_number(parent: ET.Element, tag: str, value: int) -> None:
    """Writes a scaled element, made where it is missing."""
    child = parent.find(tag)
    if child is None:
        child = ET.SubElement(parent, tag)
    child.text = str(value)
    child.set("unit", "KiB")


def _normal(device: ET.Element) -> ET.Element:
    """A device as libvirt prints it: in KiB, without an alias that nobody could have given."""
    device = copy.deepcopy(device)
    for element in device.iter():
        if element.tag in _SCALED and (element.text or "").strip():
            element.text = str(number(_wrapped(element), element.tag))
            element.set("unit", "KiB")
    alias = device.find("alias")
    if alias is not None and not _USER_ALIAS.fullmatch(alias.get("name", "")):
        device.remove(alias)
    target = device.find("target")
    if target is not None:
        for old in target.findall("current"):
            target.remove(old)
        if device.get("model") == "virtio-mem" and target.find("requested") is None:
            set_number(target, "requested", 0)
    if device.get("model") == "virtio-pmem":
        device.set("access", "shared")
    return device


def _wrapped(element: ET.Element) -> ET.Element:
    holder = ET.Element("holder")
    holder.append(element)
    return holder


# --- the daemon


@dataclass
class Machine:
    """One domain, and how its guest behaves."""

    name: str
    uuid: str
    config: ET.Element | None
    live: ET.Element | None = None
    state: str = "shutoff"
    error_paused: bool = False
    boot: int = 0
    nvdimm: bool = False  # QEMU was started with one
    guest: str = "driver"  # or nodriver, pinned, offline (nobody brings new memory online)
    talks: bool = True  # whether it has a balloon driver, which tells how much memory it has
    kept: int = 100 * MIB  # what its kernel keeps for itself
    offline: int = 0  # what is plugged and not online
    held: int = 0  # what its balloon holds back
    said: Statistics = field(default_factory=Statistics)  # what it told last
    polling: int = 0  # the number of the polling that goes on
    leaving: list[ET.Element] = field(default_factory=list)  # what the guest was asked for and has not answered
    tidying: dict[ET.Element, float] = field(default_factory=dict)  # until when it takes the emptied device's away
    hangs: bool = False  # it was asked for such a device: nothing can be plugged or unplugged until it boots again
    qemu: int | None = None  # the version that it runs in, where that is not the host's (an update since its start)
    image: str | None = None  # the managed-save image: `sound`, or `spoiled` on a disk that can't be read
    saved: ET.Element | None = None  # what the image brings back


BOOKWORM = Versions(9_000_000, 7_002_022)


@dataclass(eq=False)
class Libvirt:
    """The daemon. Whatever a guest does takes its time on the clock `now`."""

    known: Versions = BOOKWORM
    now: float = 1000.0
    lag: float = 1.5  # what a guest takes to answer
    machines: dict[str, Machine] = field(default_factory=dict)
    capabilities: str = "<capabilities/>"
    domain_capabilities: str = "<domainCapabilities/>"
    host_memory: int | None = None  # KiB that all memory devices have together; None for as much as is wanted
    host_total: int | None = None  # KiB of the host; None for as much as is wanted
    config_refused: bool = False  # the disk where configurations are stored is full
    listeners: list[t.Callable[[str, str | None, str], None]] = field(default_factory=list)
    _due: list[tuple[float, int, t.Callable[[], None]]] = field(default_factory=list)
    _count: t.Iterator[int] = field(default_factory=itertools.count)

    # --- time

    def later(self, seconds: float, action: t.Callable[[], None]) -> None:
        """Has something happen after so many seconds."""
        heapq.heappush(self._due, (self.now + seconds, next(self._count), action))

    def next_due(self) -> float | None:
        """When the next thing happens."""
        return self._due[0][0] if self._due else None

    def advance(self, until: float) -> None:
        """Lets everything happen that is due by then."""
        while self._due and self._due[0][0] <= until:
            when, _number, action = heapq.heappop(self._due)
            self.now = max(self.now, when)
            action()
        self.now = max(self.now, until)

    def tell(self, uuid: str, alias: str | None = None, what: str = "") -> None:
        """Sends an event to everyone."""
        for listener in self.listeners:
            listener(uuid, alias, what)

    # --- domains

    def machine(self, uuid: str) -> Machine:
        """The domain."""
        if uuid not in self.machines:
            raise Refused(NO_DOMAIN, "Domain not found")
        return self.machines[uuid]

    def definition(self, uuid: str, scope: str) -> ET.Element:
        """The domain in one scope."""
        machine = self.machine(uuid)
        root = machine.live if scope == LIVE else machine.config
        if root is None:
            raise Refused(
                OPERATION_INVALID, "domain is not running" if scope == LIVE else "transient domains do not ..."
            )
        return root

    def define(self, text: str) -> str:
        """Defines a domain, or defines it anew."""
        root = ET.fromstring(text)
        uuid, name = root.findtext("uuid", ""), root.findtext("name", "")
        self._may_write()
        root.attrib.pop("id", None)
        for device in memories(root):
            holder = t.cast(ET.Element, root.find("devices"))
            place = list(holder).index(device)
            holder[place] = _normal(device)
        self._check(root)
        for controller in root.findall("devices/controller"):
            if controller.get("type") == "pci" and controller.get("index") is None:
                self._number_port(root, controller)
        for slot in _slots(root):
            self._slot_in_range(root, slot)
        for device in memories(root):
            self._validate(device, root)
            self._boot_node(device)
            self._place(root, device, CONFIG)
        current = number(root, "currentMemory")
        self._recount(root, CONFIG)
        total = number(root, "memory") or 0
        set_number(root, "currentMemory", total if current is None else min(current, total))
        most = number(root, "maxMemory")
        if most is not None and total > most:
            raise Refused(XML_ERROR, "maximum memory size must be equal or greater than the actual memory size")
        aliases = [alias for device in memories(root) if (alias := alias_of(device))]
        if len(set(aliases)) < len(aliases):
            raise Refused(UNSUPPORTED, "non unique alias detected")
        machine = self.machines.setdefault(uuid, Machine(name, uuid, None))
        machine.config = root
        self.tell(uuid)
        return uuid

    def _check(self, root: ET.Element) -> None:
        devices = memories(root)
        limit = root.find("maxMemory")
        if devices and limit is None:
            raise Refused(UNSUPPORTED, "cannot use/hotplug a memory device when domain 'maxMemory' is not defined")
        slots = int(limit.get("slots", "0")) if limit is not None else 0
        counted = devices if self.old else [device for device in devices if device.get("model") in DIMMS]
        if limit is not None and self.old and not slots:
            raise Refused(XML_ERROR, "both maximum memory size and memory slot count must be specified")
        if limit is not None and len(counted) > slots:
            raise Refused(UNSUPPORTED, "memory device count exceeds slots count")

    @property
    def old(self) -> bool:
        """Whether every memory device takes a slot."""
        return self.known.libvirt < 9_005_000

    def start(self, uuid: str) -> None:
        """Boots from the configuration."""
        machine, config = self.machine(uuid), self.definition(uuid, CONFIG)
        if machine.live is not None:
            raise Refused(OPERATION_INVALID, "domain is already running")
        saved = self._saved(machine)
        config = config if saved is None else saved
        for slot in _slots(config):
            self._slot_in_range(config, slot)
        for device in memories(config):
            self._boot_node(device)
        root = copy.deepcopy(config)
        root.set("id", str(machine.boot + 1))
        for device in memories(root):
            target = t.cast(ET.Element, device.find("target"))
            size = -(-size_of(device) // (2 * MIB)) * 2 * MIB
            set_number(target, "size", size)
            if size % (number(device, "target/block") or 1):
                raise Refused(INTERNAL, "backend memory size must be multiple of")
        self._recount(root, LIVE)
        self._may_boot(root)
        machine.live, machine.state, machine.error_paused = root, "running", False
        machine.boot += 1
        machine.leaving, machine.tidying, machine.hangs = [], {}, False
        machine.offline, machine.said = 0, Statistics()
        machine.nvdimm = any(device.get("model") == "nvdimm" for device in memories(root))
        named: list[ET.Element] = []
        for device in memories(root):
            self._come_alive(device, named)
            named.append(device)
            self._ask(machine, device)
        if _balloon(root) is not None:
            self.later(1.0, lambda: self._report(machine, machine.boot))  # the driver's first report
            self._poll(machine)
        self.tell(uuid)

    def _may_boot(self, root: ET.Element) -> None:
        if (number(root, "memory") or 0) > (number(root, "maxMemory") or 1 << 60):
            raise Refused(UNSUPPORTED, "memory device total size exceeds hotplug space")
        if self.old and any(device.get("model") == "virtio-pmem" for device in memories(root)):
            raise Refused(INTERNAL, "virtio-pmem memory device info is not handled yet")

    @staticmethod
    def _saved(machine: Machine) -> ET.Element | None:
        """What the managed-save image brings back, and is gone then; None without one."""
        if machine.image == "spoiled":
            raise Refused(SYSTEM_ERROR, "failed to read the save image")
        saved, machine.saved, machine.image = machine.saved, None, None
        return saved

    def stop(self, uuid: str) -> None:
        """Pulls the plug."""
        machine = self.machine(uuid)
        if machine.live is None:
            raise Refused(OPERATION_INVALID, "domain is not running")
        machine.live, machine.state, machine.error_paused = None, "shutoff", False
        if machine.config is None:
            del self.machines[uuid]
        self.tell(uuid)

    def save(self, uuid: str, spoiled: bool = False) -> None:
        """Stops a guest in a managed-save image, which its disk may not give back."""
        machine = self.machine(uuid)
        if machine.live is None or machine.config is None:
            raise Refused(OPERATION_INVALID, "domain is not running")
        machine.saved = copy.deepcopy(machine.live)
        for device in memories(machine.saved):
            if not _USER_ALIAS.fullmatch(alias_of(device) or ""):  # it is given anew with each start
                device.remove(t.cast(ET.Element, device.find("alias")))
        machine.image = "spoiled" if spoiled else "sound"
        self.stop(uuid)

    def suspend(self, uuid: str, error: bool = False) -> None:
        """Pauses the guest."""
        machine = self.machine(uuid)
        if machine.live is not None:
            machine.state, machine.error_paused = "paused", error
            self.tell(uuid)

    def resume(self, uuid: str) -> None:
        """Lets the guest run again, and answer what it was asked meanwhile."""
        machine = self.machine(uuid)
        if machine.live is not None and machine.state == "paused":
            machine.state, machine.error_paused = "running", False
            self.answer(uuid)
            self.tell(uuid)

    def reset(self, uuid: str) -> None:
        """The reset button: QEMU takes all virtio-mem memory back, and the guest begins from nothing."""
        machine = self.machine(uuid)
        if machine.live is None:
            raise Refused(OPERATION_INVALID, "domain is not running")
        for device in memories(machine.live):
            if device.get("model") == "virtio-mem":
                set_number(t.cast(ET.Element, device.find("target")), "current", 0)
        machine.offline, machine.tidying, machine.hangs = 0, {}, False
        for device in list(machine.leaving):  # QEMU lets go of what the guest was asked for
            self.remove(machine, device)
        self._recount(machine.live, LIVE)
        self.later(2.0, lambda: self._booted(uuid, machine.boot))
        self.tell(uuid, what=REBOOTED)

    def _booted(self, uuid: str, boot: int) -> None:
        """The guest's driver is there again."""
        if uuid in self.machines and self.machines[uuid].boot == boot:
            self.answer(uuid)

    def answer(self, uuid: str) -> None:
        """Has the guest look again at all that it was asked."""
        machine, boot = self.machine(uuid), self.machine(uuid).boot
        for device in memories(machine.live) if machine.live is not None else ():
            self._ask(machine, device)
        for device in machine.leaving:
            self.later(self.lag / 3, functools.partial(self._unplugged, machine, device, boot))

    # --- what the guest says of itself

    def poll_statistics(self, uuid: str, scope: str, seconds: int) -> None:
        """Has the guest asked so often, and at once."""
        root, machine = self.definition(uuid, scope), self.machine(uuid)
        balloon = _balloon(root)
        if balloon is None:
            raise Refused(OPERATION_INVALID, "Memory balloon model must be virtio to set the collection period")
        if scope == CONFIG:
            self._may_write()
        for stats in balloon.findall("stats"):
            balloon.remove(stats)
        if seconds:
            balloon.insert(0, ET.Element("stats", period=str(seconds)))
        if scope == LIVE:
            self._poll(machine)

    def _poll(self, machine: Machine) -> None:
        machine.polling += 1
        self.later(0.04, functools.partial(self._polled, machine, machine.boot, machine.polling))

    def _polled(self, machine: Machine, boot: int, polling: int) -> None:
        if machine.live is None or (machine.boot, machine.polling) != (boot, polling):
            return
        balloon = _balloon(machine.live)
        stats = None if balloon is None else balloon.find("stats")
        if stats is None:
            return
        self._report(machine, boot)
        self.later(float(stats.get("period", "1")), functools.partial(self._polled, machine, boot, polling))

    def _report(self, machine: Machine, boot: int) -> None:
        if machine.live is not None and machine.boot == boot and machine.talks and machine.state == "running":
            total = self.mem_total(machine)
            machine.said = Statistics(total * 1024, total * 512, None, int(self.now), int(self.now * 100))

    def mem_total(self, machine: Machine) -> int:
        """The guest's own MemTotal in KiB."""
        root = t.cast(ET.Element, machine.live)
        devices = sum(
            number(item, "target/current" if item.get("model") == "virtio-mem" else "target/size") or 0
            for item in memories(root)
            if item.get("model") in ("virtio-mem", "dimm")
        )
        return self._boot_memory(root) + devices - machine.kept - machine.offline - machine.held

    @staticmethod
    def _boot_memory(root: ET.Element) -> int:
        return (number(root, "memory") or 0) - sum(map(size_of, memories(root)))

    def statistics(self, uuid: str) -> Statistics:
        """What the guest told last, and what the balloon has now."""
        machine = self.machine(uuid)
        if machine.live is None:
            raise Refused(OPERATION_INVALID, "domain is not running")
        whole = self._boot_memory(machine.live) + sum(
            size_of(item) for item in memories(machine.live) if item.get("model") == "dimm"
        )
        age = self.now - machine.said.updated if machine.said.updated else None
        return replace(machine.said, balloon=(whole - machine.held) * 1024, age=age)

    def bring_online(self, uuid: str) -> None:
        """Someone in the guest brings all of its memory online."""
        machine = self.machine(uuid)
        machine.offline, machine.guest = 0, "driver"
        self.answer(uuid)

    # --- devices

    def attach(self, uuid: str, scope: str, text: str) -> None:
        """Attaches a device in one scope."""
        root, machine = self.definition(uuid, scope), self.machine(uuid)
        device = _normal(ET.fromstring(text))
        size = size_of(device)
        self._validate(device, root)
        most = number(root, "maxMemory")
        if most is None:
            raise Refused(UNSUPPORTED, "cannot use/hotplug a memory device when domain 'maxMemory' is not defined")
        if (number(root, "memory") or 0) + size > most:
            raise Refused(UNSUPPORTED, "Attaching memory device would exceed domain's maxMemory config size")
        if alias_of(device) and any(alias_of(item) == alias_of(device) for item in root.iterfind("devices/*")):
            raise Refused(UNSUPPORTED, "non unique alias detected")
        self._slot_for(root, device, scope)
        if not self.old:
            self._boot_node(device)
        if scope == CONFIG:
            self._may_write()
        else:
            self._plug(machine, root, device)
        current = number(root, "currentMemory") or 0
        root.find("devices").append(device)  # type: ignore[union-attr]
        self._place(root, device, scope)
        self._recount(root, scope)
        if scope == CONFIG:
            set_number(root, "currentMemory", current + size)
            return
        self._come_alive(device, memories(root)[:-1])
        if device.get("model") == "dimm" and machine.guest == "offline":
            machine.offline += size
        self._ask(machine, device)

    def _plug(self, machine: Machine, root: ET.Element, device: ET.Element) -> None:
        """What speaks against it in a running guest."""
        model = device.get("model")
        self._boot_node(device)
        if model == "nvdimm" and not machine.nvdimm:
            raise Refused(INTERNAL, "nvdimm is not enabled: missing 'nvdimm' in '-M'")
        if model in DIMMS and root.find("features/acpi") is None:
            raise Refused(INTERNAL, "memory hotplug is not enabled: missing acpi device or acpi disabled")
        if model in VIRTIO and not self._free_ports(root):
            raise Refused(INTERNAL, "No more available PCI slots")
        size = -(-size_of(device) // MIB) * MIB
        set_number(t.cast(ET.Element, device.find("target")), "size", size)
        if self.host_memory is not None and model == "dimm" and self._held() + size > self.host_memory:
            raise Refused(INTERNAL, "cannot set up guest memory: Cannot allocate memory")
        if model not in ("nvdimm", "virtio-pmem") and size % max(number(device, "target/block") or 0, 2 * MIB):
            raise Refused(INTERNAL, "backend memory size must be multiple of 0x200000")

    def held_in_all(self) -> int:
        """KiB that the guests have of the host, boot memory included."""
        boot = sum(self._boot_memory(one.live) for one in self.machines.values() if one.live is not None)
        return boot + self._held()

    def _held(self) -> int:
        """KiB that guests have of their devices."""
        devices = [item for one in self.machines.values() if one.live is not None for item in memories(one.live)]
        moving = {"virtio-mem": "target/current"}
        return sum(number(item, moving.get(item.get("model", ""), "target/size")) or 0 for item in devices)

    def update(self, uuid: str, scope: str, text: str) -> None:
        """Updates a device in one scope."""
        root, machine, given = self.definition(uuid, scope), self.machine(uuid), ET.fromstring(text)
        live_alias = alias_of(given)
        new = _normal(given)
        self._validate(new, root)
        where = _address(given)
        active = machine.config if machine.live is None else machine.live
        if not self.old and active is not None and new.get("model") in DIMMS and _slots_of([new]) & _slots(active):
            # It is in its own way, or in the way of what the running guest has there (11.3).
            raise Refused(UNSUPPORTED, "memory device slot is already being used by another memory device")
        found = next((item for item in memories(root) if where is not None and _address(item) == where), None)
        if scope == CONFIG:
            self._update_config(root, found, new)
        else:
            self._update_live(machine, found, new, live_alias)

    def _update_live(self, machine: Machine, found: ET.Element | None, new: ET.Element, live_alias: str | None) -> None:
        if found is None or (live_alias and live_alias != alias_of(found)):
            raise Refused(UNSUPPORTED, f"memory '{live_alias}' not found")
        if found.get("model") != "virtio-mem":
            raise Refused(UNSUPPORTED, "cannot modify memory of model")
        for path in ("target/size", "target/block", "target/node", "source/pagesize", "source/nodemask"):
            if (found.findtext(path), number(found, path)) != (new.findtext(path), number(new, path)):
                raise Refused(UNSUPPORTED, f"cannot modify memory {path}")
        for name in ("model", "access", "discard"):
            if found.get(name) != new.get(name):
                raise Refused(UNSUPPORTED, f"cannot modify memory {name}")
        if not live_alias:
            raise Refused(INTERNAL, "Device '/machine/peripheral/(null)' not found")
        if found in machine.leaving:
            raise Refused(INTERNAL, "'requested-size' cannot be changed if the device is in the process of unplug")
        set_number(t.cast(ET.Element, found.find("target")), "requested", number(new, "target/requested") or 0)
        self._ask(machine, found)

    def _update_config(self, root: ET.Element, found: ET.Element | None, new: ET.Element) -> None:
        if found is None or (alias_of(new) and alias_of(new) != alias_of(found)):
            raise Refused(INVALID_ARG, "memory not found")
        self._may_write()
        devices = t.cast(ET.Element, root.find("devices"))
        devices[list(devices).index(found)] = new

    def detach(self, uuid: str, scope: str, text: str) -> None:
        """Detaches a device from a configuration."""
        if scope == LIVE:
            raise AssertionError("a running guest is asked by alias")
        root, given = self.definition(uuid, scope), _normal(ET.fromstring(text))
        found = next((item for item in memories(root) if _same(item, given)), None)
        if found is None:
            raise Refused(DEVICE_MISSING, "matching memory device was not found")
        self._may_write()
        current = number(root, "currentMemory") or 0
        root.find("devices").remove(found)  # type: ignore[union-attr]
        self._recount(root, CONFIG)
        # Below zero is a very large number, which becomes the total.
        total, left = number(root, "memory") or 0, current - size_of(found)
        set_number(root, "currentMemory", total if left < 0 else min(left, total))

    def unplug(self, uuid: str, alias: str) -> None:
        """Asks a running guest for a device."""
        root, machine = self.definition(uuid, LIVE), self.machine(uuid)
        found = next((item for item in memories(root) if alias_of(item) == alias), None)
        if found is None:
            raise Refused(INTERNAL, f"no device found with alias {alias}")
        model = found.get("model")
        if model in ("nvdimm", "virtio-pmem") or (
            model == "virtio-mem" and (machine.qemu or self.known.hypervisor) < 8_001_000
        ):
            raise Refused(INTERNAL, "cannot be unplugged")
        if model == "virtio-mem" and (number(found, "target/current") or number(found, "target/requested")):
            raise Refused(INTERNAL, "virtio-mem device cannot get unplugged while 'size' != '0'")
        machine.leaving.append(found)
        if machine.state == "running" and self.now < machine.tidying.get(found, 0.0):
            machine.hangs = True  # as Linux does
        self.later(self.lag / 3, lambda: self._unplugged(machine, found, machine.boot))

    def remove(self, machine: Machine, device: ET.Element) -> None:
        """A running guest has given a device back."""
        root = t.cast(ET.Element, machine.live)
        root.find("devices").remove(device)  # type: ignore[union-attr]
        if device.get("model") == "dimm":
            machine.offline -= min(machine.offline, size_of(device))
        machine.leaving = [item for item in machine.leaving if item is not device]
        self._recount(root, LIVE)
        self.tell(machine.uuid, alias_of(device))

    @staticmethod
    def _can_answer(machine: Machine, device: ET.Element, boot: int) -> bool:
        """Whether the guest that was asked is still there, with the device, and does not hang."""
        has_it = machine.live is not None and device in memories(machine.live)
        return has_it and machine.boot == boot and not machine.hangs

    def _unplugged(self, machine: Machine, device: ET.Element, boot: int) -> None:
        if not self._can_answer(machine, device, boot):
            return
        if machine.state != "running":
            self.later(1, lambda: self._unplugged(machine, device, boot))
        elif machine.guest in ("driver", "offline"):
            self.remove(machine, device)
        elif machine.guest == "pinned":
            machine.leaving = [item for item in machine.leaving if item is not device]
            self.tell(machine.uuid, alias_of(device), REJECTED)

    # --- the guest

    def _ask(self, machine: Machine, device: ET.Element) -> None:
        """The guest learns what is requested of it, and goes there in two steps."""
        if device.get("model") != "virtio-mem" or machine.guest == "nodriver":
            return
        wanted, boot = number(device, "target/requested"), machine.boot
        self.later(self.lag / 5, lambda: self._move(machine, device, boot, wanted, half=True))
        self.later(self.lag, lambda: self._move(machine, device, boot, wanted))

    def _move(self, machine: Machine, device: ET.Element, boot: int, wanted: int | None, half: bool = False) -> None:
        if machine.live is None or not self._can_answer(machine, device, boot):
            return
        now, asked = number(device, "target/current") or 0, number(device, "target/requested") or 0
        if machine.state != "running" or machine.guest == "nodriver" or asked != wanted or asked == now:
            return
        block = number(device, "target/block") or 1
        goal = asked
        if machine.guest == "pinned" and asked < now:
            goal = max(asked, now // 2 // block * block)
        if machine.guest == "offline" and goal > now:
            goal = min(goal, now + MOST_OFFLINE - machine.offline)
        if half:
            goal = (now + goal) // 2 // block * block
        if machine.guest == "offline":
            machine.offline += max(goal - now, -machine.offline)
        set_number(t.cast(ET.Element, device.find("target")), "current", goal)
        if not goal:
            machine.tidying[device] = self.now + TIDIES
        self._recount(machine.live, LIVE)
        self.tell(machine.uuid, alias_of(device))

    # --- libvirt's own doing

    def _may_write(self) -> None:
        if self.config_refused:
            raise Refused(SYSTEM_ERROR, "cannot write config file: No space left on device")

    def _validate(self, device: ET.Element, root: ET.Element) -> None:
        """virDomainMemoryDefValidate and its like."""
        model, size = device.get("model", ""), number(device, "target/size")
        if model not in (*DIMMS, *VIRTIO, "sgx-epc"):
            raise Refused(XML_ERROR, f"Invalid value for attribute 'model': '{model}'.")
        if size is None:
            raise Refused(XML_ERROR, "missing element or attribute './size'")
        if model in ("nvdimm", "virtio-pmem"):
            self._validate_file(device, size)
        if model == "virtio-mem":
            self._validate_virtio_mem(device, size)
        node = device.findtext("target/node")
        if node is not None and model == "virtio-pmem":
            raise Refused(UNSUPPORTED, "virtio-pmem does not support NUMA nodes")
        if node is not None and int(node) >= len(root.findall("cpu/numa/cell")):
            raise Refused(XML_DETAIL, "can't add memory backend for guest node")

    @staticmethod
    def _boot_node(device: ET.Element) -> None:
        """Not looked at by old ones when a device is attached to a configuration."""
        if device.get("model") not in ("virtio-pmem", "sgx-epc") and device.find("target/node") is None:
            raise Refused(UNSUPPORTED, "target NUMA node needs to be specified for memory device")

    @staticmethod
    def _validate_file(device: ET.Element, size: int) -> None:
        if not device.findtext("source/path"):
            raise Refused(XML_DETAIL, "path is required for model")
        if device.get("discard") == "yes":
            raise Refused(UNSUPPORTED, "discard is not supported")
        label = number(device, "target/label/size")
        if label is not None and (label < 128 or label >= size):
            raise Refused(XML_ERROR, "label size must be smaller than NVDIMM size")

    @staticmethod
    def _validate_virtio_mem(device: ET.Element, size: int) -> None:
        block, asked = number(device, "target/block") or 0, number(device, "target/requested") or 0
        if block < 1 or block & (block - 1):
            raise Refused(XML_DETAIL, "block size must be a power of two")
        if block < 2 * MIB:
            raise Refused(XML_DETAIL, "block size too small, must be at least 2048KiB")
        if asked > size:
            raise Refused(XML_DETAIL, "requested size must be smaller than or equal to @size")
        if asked % block:
            raise Refused(XML_DETAIL, "requested size must be an integer multiple of block size")

    def _slot_for(self, root: ET.Element, device: ET.Element, scope: str) -> None:
        limit, model = t.cast(ET.Element, root.find("maxMemory")), device.get("model")
        every = self.old or (scope == CONFIG and model in DIMMS)
        if model not in DIMMS and not self.old:
            return
        counted = [item for item in memories(root) if every or item.get("model") in DIMMS]
        slots = int(limit.get("slots", "0"))
        if len(counted) == slots or (len(counted) > slots and self.old):
            raise Refused(UNSUPPORTED, "no free memory device slot available")
        address = device.find("address[@type='dimm']")
        slot = address.get("slot") if address is not None else None
        if slot is None and len([item for item in memories(root) if item.get("model") in DIMMS]) >= slots:
            # More devices than slots are not noticed above (11.3).
            raise Refused(INTERNAL, "failed to find an empty memory slot")
        if slot is not None and int(slot) in _slots(root):
            # A configuration is looked through for the whole address.
            code = OPERATION_INVALID if scope == CONFIG and self.old else UNSUPPORTED
            raise Refused(code, "memory device slot is already being used by another memory device")
        if slot is not None and (scope == LIVE or not self.old):
            self._slot_in_range(root, int(slot))

    @staticmethod
    def _slot_in_range(root: ET.Element, slot: int) -> None:
        """Not looked at by old ones when a device is attached to a configuration."""
        limit = root.find("maxMemory")
        if limit is not None and slot >= int(limit.get("slots", "0")):
            raise Refused(UNSUPPORTED, "memory device slot exceeds slots count")

    def _place(self, root: ET.Element, device: ET.Element, scope: str) -> None:
        """The bus address that libvirt assigns."""
        model, address = device.get("model"), device.find("address")
        if model in DIMMS:
            if address is None:
                address = ET.SubElement(device, "address", type="dimm")
            if address.get("slot") is None:
                taken = _slots(root)
                address.set("slot", str(next(slot for slot in itertools.count() if slot not in taken)))
        elif model in VIRTIO and address is None:
            ports = self._free_ports(root)
            if not ports and scope == CONFIG and self._is_express(root):
                port = ET.Element("controller", type="pci", model="pcie-root-port")
                devices = t.cast(ET.Element, root.find("devices"))
                last = [item for item in devices.findall("controller") if item.get("type") == "pci"][-1]
                devices.insert(list(devices).index(last) + 1, port)
                self._number_port(root, port)
                ports = self._free_ports(root)
            ET.SubElement(
                device, "address", type="pci", domain="0x0000", bus=f"{min(ports):#04x}", slot="0x00", function="0x0"
            )

    @staticmethod
    def _is_express(root: ET.Element) -> bool:
        return root.find("devices/controller[@model='pcie-root']") is not None

    @staticmethod
    def _number_port(root: ET.Element, port: ET.Element) -> None:
        used = {
            int(item.get("index", "-1")) for item in root.findall("devices/controller") if item.get("type") == "pci"
        }
        port.set("index", str(next(index for index in itertools.count(1) if index not in used)))

    @staticmethod
    def _free_ports(root: ET.Element) -> set[int]:
        ports = {
            int(item.get("index", "0"))
            for item in root.findall("devices/controller")
            if item.get("model") == "pcie-root-port" and item.get("index")
        }
        return ports - {int(item.get("bus", "0"), 0) for item in root.iterfind("devices//address[@type='pci']")}

    def _recount(self, root: ET.Element, scope: str) -> None:
        cells = sum(
            int(cell.get("memory", "0")) * _UNITS[cell.get("unit", "KiB")] for cell in root.findall("cpu/numa/cell")
        )
        if cells:
            total = int(cells) + sum(size_of(device) for device in memories(root))
            set_number(root, "memory", total)
            if scope == LIVE:
                set_number(root, "currentMemory", total)  # as without a balloon

    def _come_alive(self, device: ET.Element, others: t.Sequence[ET.Element]) -> None:
        """What only a running device has."""
        model = device.get("model", "")
        if model == "virtio-mem":
            set_number(t.cast(ET.Element, device.find("target")), "current", 0)
        if model in DIMMS:
            t.cast(ET.Element, device.find("address")).set("base", "0x100000000")
        elif self.known.libvirt >= 9_004_000 and device.find("target/address") is None:
            ET.SubElement(t.cast(ET.Element, device.find("target")), "address", base="0x140000000")
        if alias_of(device) is None:
            prefix = model.replace("-", "")
            if model in DIMMS:
                name = f"{prefix}{t.cast(ET.Element, device.find('address')).get('slot')}"
            else:
                used = [alias_of(item) or "" for item in others]
                numbers = [int(item[len(prefix) :]) for item in used if re.fullmatch(rf"{prefix}\d+", item)]
                name = f"{prefix}{max(numbers, default=-1) + 1}"
            ET.SubElement(device, "alias", name=name)


def _balloon(root: ET.Element) -> ET.Element | None:
    """The balloon that can be asked; libvirt gives a domain one that says nothing of it, which the model does not."""
    return root.find("devices/memballoon[@model='virtio']")


def _slots(root: ET.Element) -> set[int]:
    return _slots_of(memories(root))


def _slots_of(devices: t.Iterable[ET.Element]) -> set[int]:
    addresses = [device.find("address[@type='dimm']") for device in devices]
    return {int(item.get("slot", "-1")) for item in addresses if item is not None and item.get("slot")}


def _address(device: ET.Element) -> dict[str, str] | None:
    found = device.find("address")
    return None if found is None else dict(found.attrib)


def _same(device: ET.Element, given: ET.Element) -> bool:
    """virDomainMemoryFindByDef."""
    if given.find("address") is not None and _address(given) != _address(device):
        return False
    if alias_of(given) and alias_of(given) != alias_of(device):
        return False
    paths = ["target/size", "target/node"]
    paths += {
        "dimm": ["source/pagesize", "source/nodemask"],
        "virtio-mem": ["source/pagesize", "source/nodemask", "target/block", "target/requested"],
    }.get(given.get("model", ""), ["source/path"])
    return device.get("model") == given.get("model") and all(
        given.findtext(path) == device.findtext(path) for path in paths
    )


# --- a connection


@dataclass
class Fault:
    """What goes wrong at the n-th call of a connection, before it or after it."""

    at: int
    what: t.Callable[[Connection], None]
    after: bool = False


@dataclass(eq=False)
class Connection:
    """What `_apply` has of `_libvirt.Hypervisor`."""

    libvirt: Libvirt
    faults: t.Sequence[Fault] = ()
    loses_events: bool = False
    refusals: t.Mapping[tuple[str, str], int] = field(default_factory=dict)  # what is refused of what, with which code
    calls: int = 0
    broken: bool = False
    killed: bool = False  # nothing of the process runs any longer, not even what it does at its end
    interrupted: bool = False
    log: list[tuple[str, str]] = field(default_factory=list)  # what was changed, of what
    looked: int = 0  # at which call all of a domain was read last
    events: list[Event] = field(default_factory=list)
    watched: set[str] = field(default_factory=set)
    turn: threading.RLock = field(default_factory=threading.RLock)  # many domains are read by threads

    def __post_init__(self) -> None:
        """Listens from the start; what is not watched is dropped."""
        self.libvirt.listeners.append(self._hear)

    def close(self) -> None:
        """Hears nothing any longer."""
        self.libvirt.listeners.remove(self._hear)

    def clock(self) -> float:
        """The time."""
        return self.libvirt.now

    def _hear(self, uuid: str, alias: str | None, what: str) -> None:
        # A lost event costs one poll; that a guest has said no is known from nowhere else.
        if uuid in self.watched and not (self.loses_events and what != REJECTED):
            self.events.append(Event(uuid, alias, what))

    def _call(self, action: t.Callable[[], t.Any], what: str = "read", of: str = "") -> t.Any:
        with self.turn:
            return self._call_alone(action, what, of)

    def _call_alone(self, action: t.Callable[[], t.Any], what: str, of: str) -> t.Any:
        self.calls += 1
        # Every call takes its time, and a poll is a call: so time never stands still.
        self.libvirt.advance(self.libvirt.now + 0.002)
        due = [fault for fault in self.faults if fault.at == self.calls]
        try:
            for fault in due:
                if not fault.after:
                    fault.what(self)
            self._check()
            self._refuse(what, of)
            result = action()
            if what not in ("read", "watch"):
                self.log.append((what, of))
            for fault in due:
                if fault.after:
                    fault.what(self)
            self._check()
        except Killed:
            self.killed = True
            raise
        except Refused as error:
            raise calls.translate(error, f"{what} {of}", {"op": what}) from error
        return result

    def _refuse(self, what: str, of: str) -> None:
        if (what, of) in self.refusals:
            if what != "watch":
                self.log.append((what, of))
            raise Refused(self.refusals[what, of], "made to fail")

    def _check(self) -> None:
        if self.killed:
            raise Killed
        if self.broken:
            raise VirtmemError("connection_lost", "The connection broke.", {}, "Run the task again.")

    def find(self, domain: str) -> str:
        """The UUID of the domain."""

        def look() -> str:
            for machine in self.libvirt.machines.values():
                if domain in (machine.name, machine.uuid):
                    return machine.uuid
            raise VirtmemError("domain_not_found", f"there is no domain {domain}", {}, "Look for it.")

        return str(self._call(look))

    def versions(self) -> Versions:
        """Of the daemon and of QEMU."""
        return t.cast(Versions, self._call(lambda: self.libvirt.known))

    def read(self, uuid: str, scopes: t.Collection[str] = (LIVE, CONFIG)) -> _libvirt.Reading:
        """The domain as it is."""

        def look() -> _libvirt.Reading:
            machine = self.libvirt.machine(uuid)
            wants_config = machine.config is not None and CONFIG in scopes
            saved = machine.saved if wants_config and machine.live is None and machine.image is not None else None
            if saved is not None and machine.image == "spoiled":
                raise Refused(SYSTEM_ERROR, "failed to read the save image")
            return _libvirt.Reading(
                name=machine.name,
                uuid=uuid,
                state=machine.state,
                persistent=machine.config is not None,
                error_paused=machine.error_paused,
                live_xml=dumped(machine.live) if machine.live is not None and LIVE in scopes else None,
                config_xml=dumped(machine.config) if wants_config and machine.config is not None else None,
                saved_xml=dumped(saved) if saved is not None else None,
            )

        reading = t.cast(_libvirt.Reading, self._call(look))
        if CONFIG in scopes:
            self.looked = self.calls
        return reading

    def attach(self, uuid: str, scope: str, xml: str) -> None:
        """As the daemon's."""
        self._call(lambda: self.libvirt.attach(uuid, scope, xml), "attach", scope)

    def update(self, uuid: str, scope: str, xml: str) -> None:
        """As the daemon's."""
        self._call(lambda: self.libvirt.update(uuid, scope, xml), "update", scope)

    def detach(self, uuid: str, scope: str, xml: str) -> None:
        """As the daemon's."""
        self._call(lambda: self.libvirt.detach(uuid, scope, xml), "detach", scope)

    def unplug(self, uuid: str, alias: str) -> None:
        """As the daemon's."""
        self._call(lambda: self.libvirt.unplug(uuid, alias), "unplug", alias)

    def define(self, xml: str) -> None:
        """As the daemon's."""
        self._call(lambda: self.libvirt.define(xml), "define", CONFIG)

    def config_with_secrets(self, uuid: str) -> str:
        """All of the configuration."""

        def look() -> str:
            machine = self.libvirt.machine(uuid)
            return dumped(t.cast(ET.Element, machine.live if machine.config is None else machine.config), secure=True)

        return str(self._call(look))

    def statistics(self, uuid: str) -> Statistics:
        """What the guest told last."""
        return t.cast(Statistics, self._call(lambda: self.libvirt.statistics(uuid)))

    def poll_statistics(self, uuid: str, scope: str, seconds: int) -> None:
        """As the daemon's. It is no change that a task's plan shows, so it is not among the others."""
        self._call(lambda: self.libvirt.poll_statistics(uuid, scope, seconds), "watch", "statistics")

    def capabilities(self) -> str:
        """The host's nodes and pages."""
        return str(self._call(lambda: self.libvirt.capabilities))

    def list_domains(self) -> list[_libvirt.Listed]:
        """All of them."""

        def look() -> list[_libvirt.Listed]:
            return [
                _libvirt.Listed(one.name, one.uuid, one.state, one.config is not None, one.live is not None, False, one)
                for one in self.libvirt.machines.values()
            ]

        return t.cast("list[_libvirt.Listed]", self._call(look))

    def read_listed(self, listed: _libvirt.Listed, _guest: bool = False) -> _libvirt.Reading | None:
        """What there is to read of a listed domain."""
        return self.read(listed.uuid)

    def host_memory(self, _nodes: t.Iterable[int] = (), _pages: t.Sequence[int] = ()) -> HostMemory:
        """That of the host, which the guests share."""

        def look() -> HostMemory:
            total = (self.libvirt.host_total or 1 << 30) * 1024
            return HostMemory(total, total - self.libvirt.held_in_all() * 1024)

        return t.cast(HostMemory, self._call(look))

    def domain_capabilities(self) -> str:
        """What domains can have here."""
        return str(self._call(lambda: self.libvirt.domain_capabilities))

    def watch(self, uuid: str) -> None:
        """Hears of this domain from now on."""
        self._call(lambda: self.watched.add(uuid), "watch", "events")

    def wake(self) -> None:
        """Makes next_event return."""
        self.events.append(Event(None))

    def next_event(self, timeout: float) -> Event | None:
        """Lets time pass until something is heard, or for so many seconds."""
        until = self.libvirt.now + max(timeout, 0.0)
        while not self.events:
            due = self.libvirt.next_due()
            if due is None or due > until:
                self.libvirt.advance(until)
                return self.events.pop(0) if self.events else None
            self.libvirt.advance(due)
        return self.events.pop(0)


def dumped(root: ET.Element, secure: bool = False) -> str:
    """As text; passwords only with SECURE."""
    root = copy.deepcopy(root)
    for element in root.iter() if not secure else ():
        element.attrib.pop("passwd", None)
    return ET.tostring(root, encoding="unicode")
