# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Generated XML through the parser: a result or `invalid_xml`, without files or network, in bounded time and memory.

What libvirt prints comes over a connection that need not be trusted, and holds what users of guests may have written.
"""

from __future__ import annotations

import builtins
import io
import os
import re
import resource
import socket
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.device import Device, Readiness
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.errors import VirtmemError
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.size import GIB
from ansible_collections.virtmem.libvirt.plugins.module_utils._memory.xml import reading, writing
from ansible_collections.virtmem.libvirt.tests.fuzz import _generated as generated
from hypothesis import given, settings
from hypothesis import strategies as st

READY = Readiness(max_memory=64 * GIB, slots=3, cell_memory=GIB, cell_processors=2, ports=2, acpi=True)
READERS: dict[str, t.Callable[[str], object]] = {
    "read_definition": reading.read_definition,
    "read_device": reading.read_device,
    "read_host": reading.read_host,
    "domain capabilities": lambda text: reading.read_host(generated.CAPABILITIES, text),
    "make_ready": lambda text: writing.make_ready(text, READY),
    "same_element": lambda text: writing.same_element(text, "<memory/>"),
}
# Generous for a slow machine, and nothing beside what an entity bomb takes.
SECONDS, BYTES = 5.0, 256 * 2**20


def attempt(function: t.Callable[..., object], *arguments: object) -> object:
    """What it gives, None if it says that the XML is invalid; nothing else may happen."""
    try:
        return function(*arguments)
    except VirtmemError as error:
        if error.error_code in ("invalid_xml", "changed_meanwhile") and error.msg:
            return None
        raise


def try_all(text: str) -> None:
    """Every reader and writer on this text."""
    began = time.process_time()
    for function in READERS.values():
        result = attempt(function, text)
        if isinstance(result, str):
            attempt(reading.read_definition, result)
    definition, alone = attempt(reading.read_definition, text), attempt(reading.read_device, text)
    # Only what could be read as a device is ever edited; the definition that it is put into may be another one.
    for device in (*getattr(definition, "devices", ())[:4], *([alone] if isinstance(alone, Device) else ())):
        edited = writing.edit_device(device.xml, {"requested": 0, "size": 2 * GIB, "readonly": False})
        reading.read_device(writing.twin_device(edited, {"requested": 0}))
        for holder in (
            text,
            text.replace("KiB", "XiB", 1),
            text.replace("<memory unit", "<memory").replace(">1", ">x1"),
        ):
            attempt(writing.replace_device, holder, device, edited)
    assert time.process_time() - began < SECONDS


@pytest.fixture
def _sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file and no socket, for Python; what libxml2 could open by itself is looked for in its results."""

    def refuse(*arguments: object, **_named: object) -> t.NoReturn:
        raise AssertionError(f"the parser reaches out: {arguments}")

    for holder, name in (
        *((builtins, "open"), (io, "open"), (os, "open"), (Path, "open"), (os, "popen"), (os, "system")),
        *((socket, "socket"), (socket, "create_connection"), (socket, "getaddrinfo")),
    ):
        monkeypatch.setattr(holder, name, refuse)


# --- broken and hostile by hand

BOMB = "".join(f"<!ENTITY e{number} '{f'&e{number - 1};' * 10}'>" for number in range(1, 12))
CONTENT = "the content of the file"


def hostile(path: Path) -> dict[str, str]:
    """Documents that have brought down or emptied others, by their names."""
    device = "<memory model='dimm'><target><size>{}</size></target></memory>"
    domain = "<domain><memory>1</memory><devices>{}</devices></domain>"
    entity = "<!DOCTYPE domain [<!ENTITY x SYSTEM '{}'>]>"
    attributes = " ".join(f"a{number}=''" for number in range(3_000))
    names = " ".join(f"xmlns:n{number}='urn:{number}'" for number in range(1_000))
    return {
        "nothing": "",
        "a NUL": "<domain>\0</domain>",
        "a lone surrogate": "<domain>\ud800</domain>",
        "an encoding that is not so": "<?xml version='1.0' encoding='UTF-16'?><domain/>",
        "no such encoding": "<?xml version='1.0' encoding='none'?><domain/>",
        "a bomb of entities": f"<!DOCTYPE domain [<!ENTITY e0 'ha'>{BOMB}]>{domain.format(device.format('&e11;'))}",
        "a quadratic one": f"<!DOCTYPE domain [<!ENTITY e '{'a' * 50_000}'>]><domain>{'&e;' * 5000}</domain>",
        "a bomb in an attribute": f"<!DOCTYPE domain [<!ENTITY e0 'ha'>{BOMB}]><domain id='&e11;'/>",
        "one that names itself": "<!DOCTYPE domain [<!ENTITY a '&b;'><!ENTITY b '&a;'>]><domain>&a;</domain>",
        "a file": f"{entity.format(path.as_uri())}{domain.format(device.format('&x;'))}",
        "a parameter entity": f"<!DOCTYPE domain [<!ENTITY % x SYSTEM '{path.as_uri()}'>%x;]><domain/>",
        "an outer subset": f"<!DOCTYPE domain SYSTEM '{path.as_uri()}'><domain/>",
        "the network": f"{entity.format('http://127.0.0.1:9/x')}<domain>&x;</domain>",
        "a share": f"{entity.format('ftp://127.0.0.1:9/x')}<domain>&x;</domain>",
        "an inclusion": (
            f"<domain xmlns:xi='http://www.w3.org/2001/XInclude'>"
            f"<xi:include href='{path.as_uri()}' parse='text'/></domain>"
        ),
        "a style": f"<?xml-stylesheet href='{path.as_uri()}'?><domain/>",
        "great depth": "<a>" * 200_000 + "</a>" * 200_000,
        "depth that is allowed": "<domain><devices>" + "<a>" * 200 + "</a>" * 200 + "</devices></domain>",
        "a huge attribute": f"<domain id='{'a' * 11_000_000}'/>",
        "a huge text": domain.format(device.format("1" * 11_000_000)),
        "a huge number": domain.format(device.format("9" * 100_000)),
        "a huge address": domain.format(
            f"<memory model='dimm'><target><size>1</size></target><address base='0x{'f' * 100_000}'/></memory>"
        ),
        "a huge node set": domain.format(
            "<memory model='dimm'><source><nodemask>0-99999999999</nodemask></source>"
            "<target><size>1</size></target></memory>"
        ),
        "a million devices": domain.format("<memory model='x'><target><size>1</size></target></memory>" * 2_000),
        "many attributes": f"<domain {attributes}/>",
        "many namespaces": f"<domain {names}><devices/></domain>",
        "numbers that are none": domain.format(device.format("\u0661\u0662")),
        "minus": domain.format(device.format("-1")),
        "no unit of ours": domain.format("<memory model='dimm'><target><size unit='XiB'>1</size></target></memory>"),
        "a comment for a child": domain.format("<!-- x --><?x y?>" + device.format("<!-- 1 -->1")),
        "a comment in the device": domain.format(
            "<memory model='dimm'><!-- x --><target><?x?><size>1</size></target></memory>"
        ),
    }


@pytest.mark.usefixtures("_sealed")
@pytest.mark.parametrize("name", hostile(Path("/nowhere")))
def test_a_hostile_document_does_nothing(name: str, secret_file: Path) -> None:
    text = hostile(secret_file)[name]
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    try_all(text)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - most < BYTES
    for function in READERS.values():
        assert CONTENT not in repr(attempt(function, text))


@pytest.fixture(scope="session")
def secret_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that no result may ever hold."""
    path = tmp_path_factory.mktemp("secret") / "file"
    path.write_text(CONTENT)
    return path


def test_libxml2_itself_opens_nothing(secret_file: Path) -> None:
    """What the patches above can't see: the C library's own files and sockets, asked of the kernel."""
    texts = [text for name, text in hostile(secret_file).items() if CONTENT not in text and len(text) < 100_000]
    before = secret_file.stat().st_atime_ns
    os.utime(secret_file, ns=(0, secret_file.stat().st_mtime_ns))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.05)
        port = listening.getsockname()[1]
        for text in texts:
            try_all(text.replace("127.0.0.1:9", f"127.0.0.1:{port}"))
        with pytest.raises(TimeoutError):
            listening.accept()
    assert secret_file.stat().st_atime_ns == 0
    assert before


# --- generated

_JUNK = st.one_of(st.sampled_from(generated._TEXTS), st.text(max_size=20))
_VALUES = st.sampled_from(
    (
        *(
            "",
            " ",
            "-1",
            "0",
            "1",
            "1.5",
            "0x10",
            "010",
            "1_000",
            "+5",
            " 7 ",
            "9" * 30,
            "9" * 5000,
            "nan",
            "yes",
            "no",
            "KiB",
            "XiB",
        ),
        *("EiB", "MB", "b", "0-3,^1", "^", "none", "pci", "dimm", "\u0661", "0x", "0xg", "-0x1", "0b1"),
    )
)
_PLACE = re.compile(r"""(?<=>)[^<>]+(?=<)|(?<==')[^']*(?=')""")
_TAG = re.compile(r"<(/?)([a-zA-Z]+)")


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A domain or the capabilities, with values, elements or bytes that are not as they should be."""
    told = draw(generated.domains())
    text: str = told.live or told.config or ""
    text = draw(
        st.sampled_from([text, text, text, generated.CAPABILITIES, *re.findall("<memory m.*?</memory>", text)[:1]])
    )
    for _time in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["value", "value", "value", "cut", "junk", "element", "twice"]))
        places = list((_PLACE if kind == "value" else _TAG).finditer(text))
        if not places:
            continue
        place = places[draw(st.integers(0, len(places) - 1))]
        if kind == "value":
            text = text[: place.start()] + draw(_VALUES) + text[place.end() :]
        elif kind == "cut":
            text = text[: place.start()]
        elif kind == "junk":
            text = text[: place.start()] + draw(_JUNK) + text[place.start() :]
        else:
            # An element goes, with all that is in it, or comes twice.
            tag = place.group(2)
            whole = re.compile(rf"<{tag}\b[^>]*/>|<{tag}\b.*?</{tag}>", re.DOTALL).search(text, place.start())
            if whole:
                text = text[: whole.start()] + whole.group() * (2 if kind == "twice" else 0) + text[whole.end() :]
    return str(text)


@given(damaged())
def test_damaged_xml_is_read_or_refused(text: str) -> None:
    try_all(text)


@settings(max_examples=max(settings().max_examples // 3, 1))
@given(generated.domains())
def test_undamaged_xml_is_read(told: generated.Told) -> None:
    """The test above is worth nothing if all it damages was bad before."""
    for text in (told.live, told.config):
        if text is not None:
            definition = reading.read_definition(text)
            assert all(isinstance(device, Device) for device in definition.devices)
            assert len(definition.devices) == text.count("<memory model")
