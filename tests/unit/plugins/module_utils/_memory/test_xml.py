# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""XML: every property of every model is read, and an edit changes what was asked and nothing else."""

from __future__ import annotations

import re
import socket
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Device, Readiness
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.properties import PROPERTIES
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB, KIB, MIB
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.xml import reading, writing
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils._memory import _elements as elements
from ansible_collections.virtmem.libvirt.tests.unit.plugins.module_utils._memory._elements import (
    Printed,
    canonical,
    facts,
)
from hypothesis import given
from hypothesis import strategies as st

# --- reading one device

VIRTIO_MEM = """\
<memory model='virtio-mem' access='shared' discard='yes'>
  <source>
    <nodemask>1-3,5</nodemask>
    <pagesize unit='KiB'>2048</pagesize>
  </source>
  <target dynamicMemslots='yes'>
    <size unit='KiB'>4194304</size>
    <node>0</node>
    <block unit='KiB'>2048</block>
    <requested unit='KiB'>1048576</requested>
    <current unit='KiB'>524288</current>
    <address base='0x140000000'/>
  </target>
  <alias name='ua-vm0'/>
  <address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/>
</memory>"""

DIMM = """\
<memory model='dimm' access='private' discard='no'>
  <source>
    <nodemask>0</nodemask>
    <pagesize unit='KiB'>1048576</pagesize>
  </source>
  <target>
    <size unit='KiB'>1048576</size>
    <node>1</node>
  </target>
  <alias name='dimm0'/>
  <address type='dimm' slot='0' base='0x100000000'/>
</memory>"""

NVDIMM = """\
<memory model='nvdimm' access='shared'>
  <uuid>7f9c1a52-0a43-4f0e-8a39-1f2b6c7d8e90</uuid>
  <source>
    <path>/srv/nvdimm/web1</path>
    <alignsize unit='KiB'>2048</alignsize>
    <pmem/>
  </source>
  <target>
    <size unit='KiB'>524416</size>
    <node>0</node>
    <label>
      <size unit='KiB'>128</size>
    </label>
    <readonly/>
  </target>
  <alias name='ua-nv'/>
  <address type='dimm' slot='3' base='0x180000000'/>
</memory>"""

VIRTIO_PMEM = """\
<memory model='virtio-pmem' access='shared'>
  <source>
    <path>/srv/pmem/web1</path>
  </source>
  <target>
    <size unit='KiB'>524288</size>
    <address base='0x1c0000000'/>
  </target>
  <alias name='virtiopmem0'/>
  <address type='ccw' cssid='0xfe' ssid='0x0' devno='0x0007'/>
</memory>"""

SGX_EPC = """\
<memory model='sgx-epc'>
  <source>
    <nodemask>0-1</nodemask>
  </source>
  <target>
    <size unit='KiB'>65536</size>
    <node>0</node>
  </target>
  <alias name='epc0'/>
</memory>"""

READ = [
    (
        VIRTIO_MEM,
        Device(
            model="virtio-mem",
            access="shared",
            discard=True,
            nodemask=(1, 2, 3, 5),
            pagesize=2 * MIB,
            dynamic_memslots=True,
            size=4 * GIB,
            node=0,
            block=2 * MIB,
            requested=GIB,
            current=512 * MIB,
            base=0x140000000,
            alias="ua-vm0",
            address="pci 0000:02:00.0",
        ),
    ),
    (
        DIMM,
        Device(
            model="dimm",
            access="private",
            discard=False,
            nodemask=(0,),
            pagesize=GIB,
            size=GIB,
            node=1,
            alias="dimm0",
            slot=0,
            base=0x100000000,
        ),
    ),
    (
        NVDIMM,
        Device(
            model="nvdimm",
            access="shared",
            uuid="7f9c1a52-0a43-4f0e-8a39-1f2b6c7d8e90",
            path="/srv/nvdimm/web1",
            alignsize=2 * MIB,
            pmem=True,
            size=512 * MIB + 128 * KIB,
            node=0,
            label_size=128 * KIB,
            readonly=True,
            alias="ua-nv",
            slot=3,
            base=0x180000000,
        ),
    ),
    (
        VIRTIO_PMEM,
        Device(
            model="virtio-pmem",
            access="shared",
            path="/srv/pmem/web1",
            size=512 * MIB,
            base=0x1C0000000,
            alias="virtiopmem0",
            address="ccw cssid=0xfe ssid=0x0 devno=0x0007",
        ),
    ),
    (SGX_EPC, Device(model="sgx-epc", nodemask=(0, 1), size=64 * MIB, node=0, alias="epc0")),
]
MODELS = pytest.mark.parametrize(("text", "device"), READ, ids=[device.model for _text, device in READ])


@MODELS
def test_every_property_of_a_model_is_read(text: str, device: Device) -> None:
    assert reading.read_device(text) == device


def test_the_examples_have_every_property_and_every_model() -> None:
    shown = {name for _text, device in READ for name in device.describe()}
    assert shown >= set(PROPERTIES) | {"slot", "base", "current", "address"}
    assert {device.model for _text, device in READ} == set(elements.MODELS)


@given(elements.printed_devices())
def test_any_device_that_libvirt_can_print_is_read(printed: Printed) -> None:
    device = reading.read_device(printed.text)
    for name, value in printed.values.items():
        if name == "address" and value is not None:
            assert (device.address or "").split(" ")[0] == value.split("'")[1]
        else:
            assert getattr(device, name) == value, name
    known = {name for name, value in printed.values.items() if value is not None}
    assert set(device.describe()) == known


def test_the_actual_size_has_two_names() -> None:
    older = VIRTIO_MEM.replace("current", "actual")
    assert older != VIRTIO_MEM
    assert reading.read_device(older) == reading.read_device(VIRTIO_MEM)


def test_an_absent_property_is_none_and_zero_is_not_absent() -> None:
    device = reading.read_device(
        "<memory model='virtio-mem'><target><size>1</size><node>0</node><block>2048</block>"
        "<requested>0</requested><current>0</current></target></memory>"
    )
    assert device == Device("virtio-mem", 1024, node=0, block=2 * MIB, requested=0, current=0)


@pytest.mark.parametrize(
    ("element", "value"),
    [
        ("<size>3</size>", 3 * KIB),
        ("<size unit='KiB'>3</size>", 3 * KIB),
        ("<size unit='k'>3</size>", 3 * KIB),
        ("<size unit='MiB'> 3\n</size>", 3 * MIB),
        ("<size unit='G'>3</size>", 3 * GIB),
        ("<size unit='GB'>1</size>", 976563 * KIB),
        ("<size unit='bytes'>1</size>", KIB),
        ("<size unit='b'>1024</size>", KIB),
    ],
)
def test_a_size_is_read_in_any_unit_and_rounded_up_as_libvirt_does(element: str, value: int) -> None:
    assert reading.read_device(f"<memory model='dimm'><target>{element}</target></memory>").size == value


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("<address type='pci' domain='0x0001' bus='0xff' slot='0x1f' function='0x7'/>", "pci 0001:ff:1f.7"),
        ("<address type='pci'/>", "pci 0000:00:00.0"),
        ("<address type='none'/>", None),
        ("<address/>", None),
        ("<address type='spapr-vio' reg='0x71'/>", "spapr-vio reg=0x71"),
        ("", None),
    ],
)
def test_a_bus_address_is_shown_as_people_write_it(address: str, shown: str | None) -> None:
    text = f"<memory model='virtio-mem'><target><size>1</size></target>{address}</memory>"
    assert reading.read_device(text).address == shown


# --- what can't be read

BOMB = "".join(f"<!ENTITY b{n} '{('&b' + str(n - 1) + ';') * 10 if n else 'bomb'}'>" for n in range(10))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no XML",
        "<memory",
        "<memory model='dimm'><target><size>1</size></target>",
        "<a/><b/>",
        "<memory model='dimm'>\x00</memory>",
        "<memory model='dimm'>\ud800</memory>",
        "<memory model='dimm' model='dimm'/>",
        "<memory model='dimm'><x:y/>",
        "<memory/>",
        "<memory model='dimm'/>",
        "<memory model='dimm'><target/></memory>",
        "<memory><target><size>1</size></target></memory>",
        "<memory model=''><target><size>1</size></target></memory>",
        "<memory model='dimm'><target><size/></target></memory>",
        "<memory model='dimm'><target><size>many</size></target></memory>",
        "<memory model='dimm'><target><size>1.5</size></target></memory>",
        "<memory model='dimm'><target><size unit='XiB'>1</size></target></memory>",
        "<memory model='dimm'><target><size>1</size><node>first</node></target></memory>",
        "<memory model='dimm'><source><nodemask>a</nodemask></source><target><size>1</size></target></memory>",
        "<memory model='dimm'><target><size>1</size></target><address type='dimm' slot='x'/></memory>",
        "<memory model='virtio-mem'><target><size>1</size><address base='x'/></target></memory>",
        "<memory model='virtio-mem'><target><size>1</size></target><address type='pci' bus='x'/></memory>",
        "<!DOCTYPE memory><memory model='dimm'><target><size>1</size></target></memory>",
        f"<!DOCTYPE memory [{BOMB}]><memory model='dimm'>&b9;<target><size>1</size></target></memory>",
        f"<!DOCTYPE memory [{BOMB}]><memory model='&b9;'><target><size>1</size></target></memory>",
        "<!DOCTYPE memory [<!ENTITY a '&a;'>]><memory model='&a;'/>",
        "<memory>" * 5000 + "</memory>" * 5000,
    ],
)
def test_what_is_no_device_is_refused_at_once(text: str) -> None:
    started = time.process_time()
    with pytest.raises(VirtmemError) as caught:
        reading.read_device(text)
    assert caught.value.error_code == "invalid_xml"
    assert len(caught.value.msg) < 500
    # A bomb that goes off takes minutes or all the memory; this is no measurement.
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "doctype",
    [
        "<!DOCTYPE memory [<!ENTITY x SYSTEM '{url}'>]>",
        "<!DOCTYPE memory [<!ENTITY % x SYSTEM '{url}'> %x;]>",
        "<!DOCTYPE memory SYSTEM '{url}'>",
        "<!DOCTYPE memory PUBLIC '-//X//Y' '{url}'>",
    ],
)
@pytest.mark.parametrize("read", [reading.read_device, reading.read_definition])
def test_nothing_outside_is_looked_at(
    doctype: str, read: t.Callable[[str], t.Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("<!ENTITY x 'the secret'>")
    body = "<memory model='dimm'><target><size>1</size></target><alias name='a'/>&x;</memory>"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        port = server.getsockname()[1]
        for url in (secret.as_uri(), str(secret), f"http://127.0.0.1:{port}/x"):
            with pytest.raises(VirtmemError) as caught:
                read(doctype.format(url=url) + body)
            assert caught.value.error_code == "invalid_xml"
            assert "the secret" not in caught.value.msg
        with pytest.raises(socket.timeout):
            server.accept()
    assert capfd.readouterr() == ("", "")


@given(printed=elements.printed_devices(), data=st.data())
def test_a_damaged_element_is_read_or_refused(printed: Printed, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(printed.text)))
    end = data.draw(st.integers(start, min(len(printed.text), start + 20)))
    instead = data.draw(st.one_of(st.just(""), st.text(max_size=5), st.sampled_from(["<a>", "</target>", "-1", "'"])))
    damaged = printed.text[:start] + instead + printed.text[end:]
    outcome = "read"
    try:
        reading.read_device(damaged)
        reading.read_definition(f"<domain><devices>{damaged}</devices></domain>")
    except VirtmemError as error:
        outcome = error.error_code
    assert outcome in ("read", "invalid_xml")


# --- changing one device


def _without(text: str, changes: t.Iterable[str], model: str) -> list[elements.Fact]:
    """What an element says of everything but these properties."""
    places = {elements.place(name, model) for name in changes}
    dropped = {path for path, attribute in places if not attribute}
    return [
        (path, attribute, value)
        for path, attribute, value in facts(text)
        if path not in dropped and (path, attribute) not in places
    ]


def _new_holders(before: str, after: str) -> list[elements.Fact]:
    """The elements that an edit had to make to hold a property, as facts."""
    had = {path for path, _attribute, _value in facts(before)}
    holders = ("memory/source", "memory/target", "memory/target/label", "memory/alias", "memory/address")
    allowed = {(path, "", "") for path in (*holders, "memory/target/address") if path not in had}
    allowed |= {("memory/address", "type", "dimm")} if "memory/address" not in had else set()
    return [fact for fact in facts(after) if fact in allowed]


@given(elements.printed_devices())
def test_an_edit_without_changes_changes_nothing(printed: Printed) -> None:
    assert canonical(writing.edit_device(printed.text, {})) == canonical(printed.text)
    read = reading.read_device(printed.text)
    assert read.xml == writing.edit_device(printed.text, {})


@given(elements.printed_devices())
def test_writing_what_is_there_changes_nothing(printed: Printed) -> None:
    read = reading.read_device(printed.text)
    values = {name: getattr(read, name) for name in read.describe() if name not in ("current", "address")}
    assert writing.edit_device(printed.text, values) == writing.edit_device(printed.text, {})


@given(data=st.data(), printed=elements.printed_devices())
def test_an_edit_changes_what_was_asked_and_nothing_else(data: st.DataObject, printed: Printed) -> None:
    changes = data.draw(elements.edits(printed.values))
    after = writing.edit_device(printed.text, changes)
    # It reads back as asked, the rest as before ...
    before_device, after_device = reading.read_device(printed.text), reading.read_device(after)
    expected = {**before_device.describe(), **Device(**{"model": "x", "size": 1, **changes}).describe()}
    expected |= {"model": before_device.model, "size": changes.get("size", before_device.size)}
    assert after_device.describe() == expected
    # ... and every other fact stands as and where it stood, known or not.
    model = before_device.model
    left = [fact for fact in _without(after, changes, model) if fact not in _new_holders(printed.text, after)]
    assert left == _without(printed.text, changes, model)
    # Doing it again does nothing.
    assert writing.edit_device(after, changes) == after


# The value of one property, and the one line of the element that it changes or adds.
ONE_LINE = [
    (VIRTIO_MEM, "requested", 2 * GIB, '    <requested unit="KiB">2097152</requested>', 1),
    (VIRTIO_MEM, "requested", 0, '    <requested unit="KiB">0</requested>', 1),
    (VIRTIO_MEM, "size", 8 * GIB, '    <size unit="KiB">8388608</size>', 1),
    (VIRTIO_MEM, "block", 4 * MIB, '    <block unit="KiB">4096</block>', 1),
    (VIRTIO_MEM, "node", 1, "    <node>1</node>", 1),
    (VIRTIO_MEM, "nodemask", (0, 1, 7), "    <nodemask>0-1,7</nodemask>", 1),
    (VIRTIO_MEM, "pagesize", GIB, '    <pagesize unit="KiB">1048576</pagesize>', 1),
    (VIRTIO_MEM, "dynamic_memslots", False, '  <target dynamicMemslots="no">', 1),
    (VIRTIO_MEM, "access", "private", '<memory model="virtio-mem" access="private" discard="yes">', 1),
    (VIRTIO_MEM, "alias", "ua-new", '  <alias name="ua-new"/>', 1),
    (VIRTIO_MEM, "base", 0x200000000, '    <address base="0x200000000"/>', 1),
    (DIMM, "slot", 5, '  <address type="dimm" slot="5" base="0x100000000"/>', 1),
    (DIMM, "base", 0x200000000, '  <address type="dimm" slot="0" base="0x200000000"/>', 1),
    (NVDIMM, "label_size", 256 * KIB, '      <size unit="KiB">256</size>', 1),
    (NVDIMM, "path", "/a & b", "    <path>/a &amp; b</path>", 1),
    (NVDIMM, "uuid", "00000000-0000-4000-8000-000000000001", "  <uuid>00000000-0000-4000-8000-000000000001</uuid>", 1),
    (SGX_EPC, "discard", False, '<memory model="sgx-epc" discard="no">', 1),
    (VIRTIO_PMEM, "node", 0, "    <node>0</node>", 0),
    (SGX_EPC, "uuid", "00000000-0000-4000-8000-000000000001", "  <uuid>00000000-0000-4000-8000-000000000001</uuid>", 0),
    (VIRTIO_PMEM, "pmem", True, "    <pmem/>", 0),
    (SGX_EPC, "readonly", True, "    <readonly/>", 0),
]


@pytest.mark.parametrize(("text", "name", "value", "line", "replaced"), ONE_LINE)
def test_one_property_is_one_line(text: str, name: str, value: t.Any, line: str, replaced: int) -> None:
    before = writing.edit_device(text, {}).splitlines()
    after = writing.edit_device(text, {name: value}).splitlines()
    gone = [old for old in before if old not in after]
    come = [new for new in after if new not in before]
    assert come == [line]
    assert len(gone) == replaced
    assert len(after) == len(before) + 1 - replaced


@pytest.mark.parametrize("name", ["pmem", "readonly"])
def test_a_flag_that_is_taken_away_leaves_no_trace(name: str) -> None:
    before, after = writing.edit_device(NVDIMM, {}), writing.edit_device(NVDIMM, {name: False})
    assert after == re.sub(rf"\n *<{name}/>", "", before)
    assert getattr(reading.read_device(after), name) is None


@pytest.mark.parametrize(("unit", "number"), [("GiB", 1), ("MiB", 1024), ("b", GIB)])
def test_a_size_that_is_the_same_in_another_unit_is_left_alone(unit: str, number: int) -> None:
    text = DIMM.replace("<size unit='KiB'>1048576<", f"<size unit='{unit}'>{number}<")
    assert writing.edit_device(text, {"size": GIB}) == writing.edit_device(text, {})
    assert f'<size unit="{unit}">{number}<' in writing.edit_device(text, {"size": GIB})


# --- a new device


@given(elements.device_values())
def test_a_new_device_has_what_was_asked(values: elements.Values) -> None:
    text = writing.new_device(values)
    assert reading.read_device(text) == Device(**values)
    assert sorted(facts(text)) == sorted(facts(elements.written(values)))


def test_a_new_device_is_printed_as_people_read_it() -> None:
    text = writing.new_device(
        {"model": "virtio-mem", "size": GIB, "node": 0, "block": 2 * MIB, "requested": 0, "alias": "ua-vm0"}
    )
    assert text == (
        '<memory model="virtio-mem">\n'
        "  <target>\n"
        '    <size unit="KiB">1048576</size>\n'
        "    <node>0</node>\n"
        '    <block unit="KiB">2048</block>\n'
        '    <requested unit="KiB">0</requested>\n'
        "  </target>\n"
        '  <alias name="ua-vm0"/>\n'
        "</memory>"
    )


# --- the same device for the other scope

LOCAL = ("memory/address", "memory/target/address", "memory/target/current", "memory/target/actual")


@given(elements.printed_devices())
def test_a_twin_takes_everything_but_what_one_scope_knows(printed: Printed) -> None:
    twin = facts(writing.twin_device(printed.text, {}))
    left_out = LOCAL if str(printed.values.get("alias", "ua-")).startswith("ua-") else (*LOCAL, "memory/alias")
    assert twin == [fact for fact in facts(printed.text) if fact[0] not in left_out]


def test_a_twin_has_what_was_asked() -> None:
    twin = reading.read_device(writing.twin_device(DIMM, {"size": 2 * GIB, "slot": 4, "alias": "ua-d"}))
    assert (twin.size, twin.slot, twin.base, twin.alias) == (2 * GIB, 4, None, "ua-d")


def test_a_twin_has_nothing_twice_of_what_one_scope_knows() -> None:
    """libvirt prints it once, but what a first one hides must not come to light."""
    once = "<current unit='KiB'>0</current>"
    twice = VIRTIO_MEM.replace("</target>", f"{once}{once}</target>")
    assert "<current" not in writing.twin_device(twice, {})


# --- a whole domain

DOMAIN = f"""\
<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web1</name>
  <uuid>0b4fd5c6-2a36-4c1e-9d5a-4f6f2e1a7c31</uuid>
  <title>The shop &amp; its caf\u00e9</title>
  <metadata>
    <shop:rack xmlns:shop='urn:example:shop' shop:row='4'>
      <memory unit='GiB'>99</memory>
      <shop:note><![CDATA[size < 5]]></shop:note>
    </shop:rack>
  </metadata>
  <maxMemory slots='8' unit='KiB'>16777216</maxMemory>
  <memory unit='KiB'>6291456</memory>
  <currentMemory unit='KiB'>5242880</currentMemory>
  <vcpu placement='static'>2</vcpu>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
  </os>
  <cpu mode='host-passthrough'>
    <numa>
      <cell id='0' cpus='0' memory='524288' unit='KiB'/>
      <cell id='1' cpus='1' memory='524288' unit='KiB'/>
    </numa>
  </cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='pci' index='0' model='pcie-root'/>
    <controller type='pci' index='1' model='pcie-root-port'>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x0'/>
    </controller>
    <controller type='pci' index='2' model='pcie-root-port'>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x1'/>
    </controller>
    <controller type='pci' index='3' model='pcie-root-port'>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x2'/>
    </controller>
    <disk type='file' device='disk'>
      <source file='/srv/web1.qcow2'/>
      <target dev='vda' bus='virtio'/>
      <alias name='ua-root'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </disk>
    <graphics type='vnc' port='-1' autoport='yes' passwd='s3cr&quot;t'/>
    <memballoon model='none'/>
    <!-- grown by hand -->
{DIMM}
{VIRTIO_MEM}
    <watchdog-of-tomorrow bark='loud'/>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-global'/>
    <qemu:env name='A' value='1'/>
  </qemu:commandline>
</domain>
"""


def test_a_definition_is_read() -> None:
    definition = reading.read_definition(DOMAIN)
    assert definition.devices == (reading.read_device(DIMM), reading.read_device(VIRTIO_MEM))
    assert [device.position for device in definition.devices] == [0, 1]
    assert definition.total == 6 * GIB
    assert definition.max_memory == 16 * GIB
    assert definition.slots == 8
    assert definition.cells == (0, 1)
    assert definition.arch == "x86_64"
    assert definition.free_ports == 1
    assert definition.other_aliases == {"ua-root"}


def test_a_definition_without_everything_is_read() -> None:
    definition = reading.read_definition("<domain><memory>2048</memory></domain>")
    assert definition.devices == ()
    assert definition.total == 2 * MIB
    assert definition.max_memory is None
    assert definition.slots == 0
    assert definition.cells == ()
    assert definition.free_ports is None


@pytest.mark.parametrize(
    ("old", "new", "free"),
    [
        ("bus='0x01'", "bus='0x03'", 1),
        ("type='pci' domain='0x0000' bus='0x02'", "type='pci' domain='0x0000' bus='0x01'", 2),
        ("model='pcie-root-port'", "model='pcie-switch-downstream-port'", 1),
        ("model='pcie-root-port'", "model='pcie-to-pci-bridge'", 0),
        ("function='0x2'/>", "function='0x2'/><target hotplug='off'/>", 0),
        ("function='0x2'/>", "function='0x2'/><target hotplug='on'/>", 1),
        ("model='pcie-root'/>", "model='pci-root'/>", 30),
    ],
)
def test_the_free_hot_plug_ports_are_counted(old: str, new: str, free: int | None) -> None:
    assert old in DOMAIN
    assert reading.read_definition(DOMAIN.replace(old, new)).free_ports == free


def _with(*devices: str) -> str:
    root = "<controller type='pci' index='0' model='pcie-root'/>"
    port = "<controller type='pci' index='{0}' model='pcie-root-port'>{1}</controller>".format
    address = "<address type='pci' domain='0x0000' bus='0x00' slot='0x{:02x}' function='0x{:x}'/>".format
    ports = "".join(port(number, address(2, number)) for number in (1, 2, 3))
    return f"<domain><devices>{root}{ports}{''.join(devices)}</devices></domain>"


HOST_ADDRESS = "<source><address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x1'/></source>"
NVME = "type='pci' managed='yes' namespace='1'"


@pytest.mark.parametrize(
    "device",
    [
        f"<interface type='hostdev' managed='yes'>{HOST_ADDRESS}</interface>",
        f"<hostdev mode='subsystem' type='pci'>{HOST_ADDRESS}</hostdev>",
        f"<disk type='nvme' device='disk'>{HOST_ADDRESS.replace('<source>', f'<source {NVME}>')}</disk>",
    ],
)
def test_an_address_of_the_host_takes_no_port_of_the_guest(device: str) -> None:
    assert reading.read_definition(_with(device)).free_ports == 3
    guests = "<address type='pci' domain='0x0000' bus='0x03' slot='0x00' function='0x0'/>"
    taken = device.replace("</source>", f"</source>{guests}<alias name='ua-passed'/>")
    definition = reading.read_definition(_with(taken))
    assert definition.free_ports == 2
    assert definition.other_aliases == {"ua-passed"}


@pytest.mark.parametrize(
    ("devices", "room"),
    [
        ([], 30 * 8 - 3),
        (["<video><address type='pci' bus='0x00' slot='0x01' function='0x0'/></video>"], 29 * 8 - 3),
        # The chipset's own slot was never free, and what is behind a port takes none.
        (["<controller type='sata'><address type='pci' bus='0x00' slot='0x1f' function='0x2'/></controller>"], 237),
        (["<disk><address type='pci' bus='0x02' slot='0x00' function='0x0'/></disk>"], 237),
        ([f"<hostdev>{HOST_ADDRESS.replace('0x02', '0x00')}</hostdev>"], 237),
    ],
)
def test_the_room_for_ports_is_what_the_root_has_left(devices: list[str], room: int) -> None:
    assert reading.read_definition(_with(*devices)).port_room == room


def test_only_a_pci_express_root_has_room_for_ports() -> None:
    assert reading.read_definition("<domain><devices/></domain>").port_room is None


@pytest.mark.parametrize(
    "inside",
    [
        "",
        "<target/>",
        "<target><size unit='MiB'>512</size></target>",
        "<target><size unit='furlong'>512</size></target>",
        "<target><size>many</size><node>first</node></target><source><nodemask>none</nodemask></source>",
    ],
)
def test_a_device_of_a_model_of_tomorrow_leaves_the_domain_readable(inside: str) -> None:
    future = f"<memory model='cxl'>{inside}<alias name='ua-future'/></memory>"
    definition = reading.read_definition(
        f"<domain><memory unit='GiB'>4</memory><devices>{DIMM}{future}</devices></domain>"
    )
    known, unknown = definition.devices
    assert known == reading.read_device(DIMM)
    assert (unknown.model, unknown.alias) == ("cxl", "ua-future")
    assert unknown.size == (512 * MIB if "MiB" in inside else 0)
    assert "cxl" in unknown.xml


@pytest.mark.parametrize("indented", [True, False])
@pytest.mark.parametrize("last", [True, False])
def test_ports_are_added_as_if_a_person_had_written_them(indented: bool, last: bool) -> None:
    rest = "" if last else "<memballoon model='none'/>"
    text = f"<domain><devices><controller type='usb'/><controller type='pci' index='0' model='pcie-root'/>{rest}"
    before, port = f"{text}</devices></domain>", "<controller type='pci' model='pcie-root-port'/>"
    after = text.replace(rest, "") + port * 3 + rest + "</devices></domain>"
    if indented:
        before, after = writing.indented(before), writing.indented(after)
    expected = after.replace("'", '"')
    assert writing.make_ready(before, Readiness(ports=3)) == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("slots='8'", "slots='many'"),
        ("<memory unit='KiB'>6291456", "<memory unit='XiB'>6291456"),
        ("<cell id='0'", "<cell id='first'"),
        ("index='2'", "index='second'"),
        ("index='2'", f"index='0x{'f' * 5000}'"),
        (">4194304<", ">a lot<"),
    ],
)
def test_a_definition_that_makes_no_sense_is_refused(old: str, new: str) -> None:
    assert old in DOMAIN
    with pytest.raises(VirtmemError) as caught:
        reading.read_definition(DOMAIN.replace(old, new))
    assert caught.value.error_code == "invalid_xml"


def test_replacing_a_device_by_itself_changes_nothing() -> None:
    for device in reading.read_definition(DOMAIN).devices:
        assert canonical(writing.replace_device(DOMAIN, device, device.xml)) == canonical(DOMAIN)


@pytest.mark.parametrize("grown", [0, GIB, -GIB, 2 * MIB])
def test_a_replaced_device_changes_the_totals_and_nothing_else(grown: int) -> None:
    before = reading.read_definition(DOMAIN).devices[1]
    edited = writing.edit_device(before.xml, {"size": before.size + grown, "requested": 0, "node": 1})
    after = writing.replace_device(DOMAIN, before, edited)
    total, current = 6291456 + grown // KIB, 5242880 + grown // KIB
    expected = (
        DOMAIN.replace(VIRTIO_MEM, edited)
        .replace("<memory unit='KiB'>6291456<", f"<memory unit='KiB'>{total}<")
        .replace("<currentMemory unit='KiB'>5242880<", f"<currentMemory unit='KiB'>{current}<")
    )
    assert canonical(after) == canonical(expected)
    for kept in ("qemu:commandline", "passwd=", "s3cr", "shop:rack", "<![CDATA[size < 5]]>", "grown by hand"):
        assert kept in after
    assert reading.read_definition(after).devices[1] == reading.read_device(edited)


def test_totals_that_make_no_sense_are_refused() -> None:
    before = reading.read_definition(DOMAIN).devices[1]
    edited = writing.edit_device(before.xml, {"size": before.size + GIB})
    with pytest.raises(VirtmemError) as caught:
        writing.replace_device(
            DOMAIN.replace("<memory unit='KiB'>6291456", "<memory unit='XiB'>6291456"), before, edited
        )
    assert caught.value.error_code == "invalid_xml"


def test_the_totals_do_not_fall_below_zero() -> None:
    text = DOMAIN.replace(">5242880<", ">1024<")
    before = reading.read_definition(text).devices[1]
    after = writing.replace_device(text, before, writing.edit_device(before.xml, {"size": 2 * MIB}))
    assert '<currentMemory unit="KiB">0<' in after


def test_a_domain_without_current_memory_gets_none() -> None:
    text = DOMAIN.replace("  <currentMemory unit='KiB'>5242880</currentMemory>\n", "")
    before = reading.read_definition(text).devices[1]
    after = writing.replace_device(text, before, writing.edit_device(before.xml, {"size": 8 * GIB}))
    assert "currentMemory" not in after
    assert reading.read_definition(after).total == 10 * GIB


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (">1048576</requested>", ">0</requested>"),
        ("<alias name='ua-vm0'/>", "<alias name='ua-vm1'/>"),
        ("bus='0x02'", "bus='0x03'"),
        ("<node>0</node>", "<node>0</node><future/>"),
        (VIRTIO_MEM, ""),
    ],
)
def test_a_device_that_someone_else_changed_is_not_hit(old: str, new: str) -> None:
    before = reading.read_definition(DOMAIN).devices[1]
    assert old in DOMAIN
    meanwhile = DOMAIN.replace(old, new)
    assert not any(
        writing.same_element(before.xml, device.xml) for device in reading.read_definition(meanwhile).devices
    )
    with pytest.raises(VirtmemError) as caught:
        writing.replace_device(meanwhile, before, before.xml)
    assert caught.value.error_code == "changed_meanwhile"
    assert caught.value.hint


def test_a_change_elsewhere_is_none_of_our_business() -> None:
    before = reading.read_definition(DOMAIN).devices[1]
    meanwhile = DOMAIN.replace(DIMM, "").replace("<vcpu placement='static'>2", "<vcpu placement='static'>4")
    assert any(writing.same_element(before.xml, device.xml) for device in reading.read_definition(meanwhile).devices)
    after = writing.replace_device(meanwhile, before, writing.edit_device(before.xml, {"requested": 0}))
    assert reading.read_definition(after).devices[0].requested == 0


def test_of_two_devices_that_are_alike_the_one_that_was_read_is_replaced() -> None:
    text = DOMAIN.replace(DIMM, "\n".join([SGX_EPC] * 3))
    devices = reading.read_definition(text).devices
    edited = writing.edit_device(devices[1].xml, {"node": 7})
    after = reading.read_definition(writing.replace_device(text, devices[1], edited))
    assert [device.node for device in after.devices] == [0, 7, 0, 0]


@given(printed=st.lists(elements.printed_devices(), min_size=1, max_size=3), data=st.data())
def test_any_device_is_replaced_where_it_stood(printed: list[Printed], data: st.DataObject) -> None:
    text = DOMAIN.replace(DIMM, "\n".join(item.text for item in printed))
    definition = reading.read_definition(text)
    position = data.draw(st.integers(0, len(printed) - 1))
    before = definition.devices[position]
    changes = data.draw(elements.edits(printed[position].values))
    after = writing.replace_device(text, before, writing.edit_device(before.xml, changes))
    now = reading.read_definition(after)
    grown = changes.get("size", before.size) - before.size
    assert now.total == max(0, definition.total + grown)
    assert now.devices[position] == reading.read_device(writing.edit_device(before.xml, changes))
    assert now.devices[:position] == definition.devices[:position]
    assert now.devices[position + 1 :] == definition.devices[position + 1 :]
