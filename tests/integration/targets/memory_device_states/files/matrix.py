# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carries out every cell of the matrix on the lab: in check mode, for real, and once more.

What libvirt says before and after each is compared with what the cell's word promises. Reads from its input, as JSON:
lab, uri, columns, words, matrix (see vars/main.yml), files.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import typing as t
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import libvirt
from call import call

MIB = 1024**2
SIZE, OTHER_SIZE = 32 * MIB, 64 * MIB
REQUESTED, OTHER_REQUESTED = 16 * MIB, 32 * MIB
LIVE, CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG
OPERATIONS: t.Mapping[str, t.Mapping[str, t.Any]] = {
    "attach": {"state": "present"},
    "attach the first": {"state": "present"},
    "request": {"requested": "32MiB", "state": "present"},
    "change": {"size": "64MiB", "state": "present"},
    "replace": {"size": "64MiB", "state": "present", "replace": True},
    "remove": {"state": "absent"},
}


@dataclass(frozen=True)
class Cell:
    """One operation on one device of one domain."""

    model: str
    operation: str
    scope: str
    state: str
    word: str

    def __str__(self) -> str:
        return f"{self.operation} {self.model}, scope {self.scope}, domain {self.state}"

    @property
    def domain(self) -> str:
        return f"{'first' if self.operation == 'attach the first' else 'states'}-{self.state}"

    @property
    def is_new(self) -> bool:
        return self.operation.startswith("attach")


class Lab:
    """The lab, its domains in every state, and what can be attached to them without the collection."""

    def __init__(self, given: t.Mapping[str, t.Any]) -> None:
        self.command: str = given["lab"]
        self.uri: str = given["uri"]
        self.files: t.Mapping[str, str] = given["files"]
        self.connection = libvirt.open(self.uri)
        libvirt.registerErrorHandler(lambda _context, _error: None, None)

    def run(self, *arguments: str) -> str:
        """A command of the lab."""
        return subprocess.run([self.command, *arguments], check=True, capture_output=True, text=True).stdout

    def version(self, name: str) -> int:
        """libvirt's or QEMU's, as libvirt counts."""
        number: int = self.connection.getLibVersion() if name == "libvirt" else self.connection.getVersion()
        return number

    def make(self, name: str) -> None:
        """A domain without an operating system in the state that its name ends with."""
        kind, state = name.split("-")
        options = ["--kind=empty", "--memory=64MiB", "--max-memory=64GiB", "--slots=200", "--ports=60"]
        # A guest that is started with an nvdimm can be given more of them.
        nvdimm = f"--device=model=nvdimm,alias=ua-first,size=32MiB,node=0,path={self.files['nvdimm']}"
        special = {
            "stopped": ["--stopped"],
            "paused": ["--paused"],
            "transient": ["--transient"],
            "crashed": ["--panic-device", "--on-crash=preserve"],
        }
        self.run("guest", name, *options, *([] if kind == "first" else [nvdimm]), *special.get(state, []))
        if state == "saved":
            self.run("virsh", "managedsave", name)
        elif state == "crashed":
            # What a guest's kernel does when it panics.
            self.run("virsh", "qemu-monitor-command", name, "--hmp", "o /b 0x505 1")

    def element(self, cell: Cell, alias: str) -> str:
        """The device that an operation finds."""
        path = self.files.get(cell.model)
        source = f"<source><path>{path}</path></source>" if path else ""
        node = "" if cell.model == "virtio-pmem" else "<node>0</node>"
        requested = f"<block unit='MiB'>2</block><requested unit='b'>{REQUESTED}</requested>"
        virtio = requested if cell.model == "virtio-mem" else ""
        target = f"<target><size unit='b'>{SIZE}</size>{node}{virtio}</target>"
        return f"<memory model='{cell.model}'>{source}{target}<alias name='{alias}'/></memory>"

    def give(self, cell: Cell, alias: str) -> None:
        """Puts the device into every definition that can have it."""
        domain = self.connection.lookupByName(cell.domain)
        if domain.isPersistent():
            domain.attachDeviceFlags(self.element(cell, alias), CONFIG)
        if domain.isActive() and cell.model != "sgx-epc":
            domain.attachDeviceFlags(self.element(cell, alias), LIVE)

    def look(self, cell: Cell, alias: str) -> dict[str, t.Any]:
        """In each scope the device, and everything else there is, in libvirt's own words."""
        domain = self.connection.lookupByName(cell.domain)
        seen: dict[str, t.Any] = {"live": None, "config": None}
        if domain.isActive():
            seen["live"] = _split(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE), alias)
        if domain.isPersistent():
            inactive = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
            seen["config"] = _split(domain.XMLDesc(inactive), alias)
        return seen


def _split(text: str, alias: str) -> tuple[dict[str, t.Any] | None, str]:
    """The device with the alias, and the rest of the definition without the totals."""
    root = ET.fromstring(text)
    devices = root.find("devices")
    found: dict[str, t.Any] | None = None
    for memory in root.findall("devices/memory"):
        name = memory.find("alias")
        if devices is not None and name is not None and name.get("name") == alias:
            found = {"model": memory.get("model")}
            found.update({tag: int(memory.findtext(f"target/{tag}") or 0) * 1024 for tag in ("size", "requested")})
            devices.remove(memory)
    for tag in ("memory", "currentMemory"):
        element = root.find(tag)
        if element is not None:
            root.remove(element)
    return found, re.sub(r">\s+<", "><", ET.tostring(root, encoding="unicode"))


# --- what a cell promises


def _wrong_steps(answer: t.Mapping[str, t.Any], word: t.Mapping[str, t.Any]) -> str:
    scopes = sorted({step["scope"] for step in answer["steps"]})
    if scopes != sorted(word["scopes"]):
        return f"changes {scopes or 'nothing'}"
    if answer["restart_required"] != word.get("restart", False):
        return f"restart_required is {answer['restart_required']}"
    return ""


def _wanted(cell: Cell, word: t.Mapping[str, t.Any], scope: str, before: t.Any) -> dict[str, t.Any] | None:
    """How the device must be in one scope after the run."""
    device: dict[str, t.Any] | None = before[scope][0]
    asks, restart = word.get("asks", False), word.get("restart", False)
    if scope not in word["scopes"] or (asks and scope == "config"):
        return device
    if scope == "live" and device and (asks or (restart and cell.operation == "remove")):
        # A silent guest keeps its device, and one that can't be unplugged stays; both are asked for their memory.
        return {**device, "requested": 0}
    if cell.operation == "remove":
        return None
    if cell.is_new:
        return {"model": cell.model, "size": SIZE, "requested": 0}
    changes = {"requested": OTHER_REQUESTED} if cell.operation == "request" else {"size": OTHER_SIZE}
    return {**(device or {}), **changes}


class Wrong(Exception):
    """A cell does not do what the matrix says."""


def _need(holds: bool, what: str, answer: t.Mapping[str, t.Any]) -> None:
    if not holds:
        raise Wrong(f"{what}: {json.dumps({name: answer.get(name) for name in SHOWN})}")


SHOWN = ("changed", "error_code", "msg", "steps", "restart_required", "restart_reasons", "warnings")


def _options(lab: Lab, cell: Cell, alias: str) -> dict[str, t.Any]:
    options = {"uri": lab.uri, "domain": cell.domain, "alias": alias, "scope": cell.scope, **OPERATIONS[cell.operation]}
    if cell.is_new:
        options.update(model=cell.model, size="32MiB")
        if cell.model == "virtio-mem":
            options["requested"] = "0"
        if cell.model in lab.files:
            options["source"] = {"path": lab.files[cell.model]}
    # No guest here answers, so it must be asked once only.
    return {**options, "wait_timeout": 0, "wait": cell.operation in ("remove", "replace")}


def judge(lab: Lab, cell: Cell, words: t.Mapping[str, t.Any], alias: str) -> None:
    """Carries out one cell.

    Raises:
        Wrong: it does something else than its word says.
    """
    if not cell.is_new:
        lab.give(cell, alias)
    before = lab.look(cell, alias)
    options = _options(lab, cell, alias)
    plan = call(check_mode=True, **options)
    _need(lab.look(cell, alias) == before, "check mode changed something", plan)
    done = call(**options)
    after = lab.look(cell, alias)
    if cell.word not in words:
        for answer in (plan, done):
            _need(answer.get("error_code") == cell.word, "another outcome", answer)
            _need(not answer["changed"], "it claims a change", answer)
        _need(plan["msg"] == done["msg"], "check mode gave another reason", done)
        _need(after == before, "a refusal changed something", done)
        return
    word = words[cell.word]
    _need("error_code" not in plan, "another outcome", plan)
    _need(not (wrong := _wrong_steps(plan, word)), f"check mode {wrong}", plan)
    _need(plan["changed"] == bool(plan["steps"]), "check mode claims something else", plan)
    _need(done["steps"] == plan["steps"], "it did not do what was planned", done)
    asks = word.get("asks", False)
    _need(done.get("error_code") == ("not_converged" if asks else None), "another outcome", done)
    for scope in ("live", "config"):
        if before[scope] is None:
            continue
        _need(after[scope][0] == _wanted(cell, word, scope, before), f"{scope} is {after[scope][0]}", done)
        if after[scope][1] != before[scope][1]:
            _need(scope == "config" and cell.is_new, f"something else changed in {scope}", done)
    warned = "managed-save" in json.dumps(done.get("warnings", []))
    _need(warned == (cell.state == "saved" and bool(done["steps"])), "the warning of the saved image", done)
    if not asks:
        again = call(**options)
        _need(not again["changed"] and not again["steps"], "it is changed again", again)
        _need(again["restart_required"] == done["restart_required"], "it forgot the restart", again)
        _need(lab.look(cell, alias) == after, "the second run changed something", again)


# --- the whole


def _applies(lab: Lab, operation: t.Mapping[str, t.Any]) -> bool:
    since, before = operation.get("since", {}), operation.get("before", {})
    return all(lab.version(name) >= _number(value) for name, value in since.items()) and all(
        lab.version(name) < _number(value) for name, value in before.items()
    )


def _number(text: str) -> int:
    major, minor = text.split(".")
    return int(major) * 1_000_000 + int(minor) * 1_000


def _cells(lab: Lab, given: t.Mapping[str, t.Any]) -> list[Cell]:
    return [
        Cell(operation["model"], operation["operation"], scope, state, word)
        for operation in given["matrix"]
        if _applies(lab, operation)
        for scope, row in operation["scopes"].items()
        for state, word in zip(given["columns"], row, strict=True)
        if word != "-"
    ]


def main() -> None:
    """Prints what is wrong, and how many cells there were."""
    given = json.load(sys.stdin)
    lab = Lab(given)
    cells = _cells(lab, given)
    domains = sorted({cell.domain for cell in cells})
    faults: list[str] = []

    def work(domain: str) -> None:
        lab.make(domain)
        for number, cell in enumerate(cells):
            if cell.domain == domain:
                try:
                    judge(lab, cell, given["words"], f"ua-{number}")
                except (Wrong, libvirt.libvirtError) as wrong:
                    faults.append(f"{cell}: {cell.word} is expected, but {wrong}")

    try:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(work, domains))
    finally:
        lab.run("delete", *domains)
    print("\n".join(faults))
    print(f"{len(cells)} cells, {len(faults)} faults")
    sys.exit(1 if faults or not cells else 0)


# A process that is forked for a call imports this file as well.
if __name__ == "__main__":
    main()
