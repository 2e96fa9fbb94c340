# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A password and a disk's secret survive every change, and are told to nobody."""

from __future__ import annotations

import base64
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import pytest
from faultlab import ALIAS, Answer, Lab, Runner
from test_storage import FAULTS, Fault

PASSWORD = "vnc-Pa55"  # noqa: S105 - it is the test's
VALUE = "the-disk-s3cret"
DEFINITION = "<secret ephemeral='no' private='no'><usage type='volume'><volume>{path}</volume></usage></secret>"


@pytest.fixture
def keeper(lab: Lab, short: Path) -> t.Iterator[tuple[str, str]]:
    """A guest with a VNC password, and the UUID of a secret of libvirt's.

    Its configuration has a disk that is encrypted with the secret; it has not been started with it.
    """
    lab.heal()
    image = Path(lab("file", "secret.img", "64MiB").strip())
    definition = short / "secret.xml"
    definition.write_text(DEFINITION.format(path=image))
    uuid = lab.virsh("secret-define", str(definition)).split()[1]
    lab.virsh("secret-set-value", uuid, "--base64", base64.b64encode(VALUE.encode()).decode())
    lab("guest", "keeper", "--kind", "empty", "--secret", PASSWORD)
    disk = (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{image}'>"
        f"<encryption format='luks'><secret type='passphrase' uuid='{uuid}'/></encryption></source>"
        "<target dev='sda' bus='sata'/></disk>"
    )
    (short / "disk.xml").write_text(disk)
    lab.virsh("attach-device", "keeper", str(short / "disk.xml"), "--config")
    try:
        yield "keeper", uuid
    finally:
        lab("delete", "keeper")
        lab.virsh("secret-undefine", uuid)
        image.unlink()


def kept(lab: Lab, name: str, uuid: str) -> None:
    """Both scopes have the password, the configuration has the disk's secret, and libvirt has its value."""
    for scope in ("live", "config"):
        xml = lab.xml(name, scope)
        assert xml is not None
        assert [element.get("passwd") for element in xml.iter("graphics")] == [PASSWORD], scope
        if scope == "config":
            assert [element.get("uuid") for element in xml.iterfind(".//encryption/secret")] == [uuid]
    assert base64.b64decode(lab.virsh("secret-get-value", uuid)).decode() == VALUE


def telltale(text: str) -> list[str]:
    """The secrets that a text has in it."""
    forms = [form for secret in (PASSWORD, VALUE) for form in (secret, base64.b64encode(secret.encode()).decode())]
    return [form for form in forms if form in text]


CHANGES: list[tuple[str, dict[str, t.Any]]] = [
    ("attach", {"alias": ALIAS, "model": "virtio-mem", "size": "1GiB", "requested": "0B", "node": 0}),
    ("update", {"alias": ALIAS, "requested": "64MiB"}),
    ("redefine", {"alias": ALIAS, "size": "2GiB"}),
    ("attach a dimm", {"alias": "ua-dimm0", "model": "dimm", "size": "128MiB", "node": 0}),
    ("detach", {"alias": "ua-dimm0", "state": "absent", "scope": "config"}),
]
READY: dict[str, t.Any] = {"max_memory": "24GiB", "slots": 20, "spare_ports": 9}


@pytest.mark.quick
def test_kept_through_every_change_and_never_told(lab: Lab, run: Runner, keeper: tuple[str, str]) -> None:
    name, uuid = keeper
    kept(lab, name, uuid)
    for what, options in CHANGES:
        for check in (True, False):
            answer = run(domain=name, **options, wait=False, check=check).end().is_green(changed=True)
            assert not telltale(answer.text), f"{what}: {answer.text}"
            kept(lab, name, uuid)
    ready = [{"name": name, "devices": [{"alias": ALIAS}], **READY}]
    answer = run("memory_layout", domains=ready).end().is_green(changed=True)
    assert not telltale(answer.text), answer.text
    kept(lab, name, uuid)
    config = lab.xml(name, "config")
    assert config is not None
    limit = config.find("maxMemory")
    assert limit is not None
    assert (limit.text, limit.get("slots")) == (str(24 * 1024**2), "20"), ElementTree.tostring(limit)
    told = run("memory_device_info").end().is_green()
    assert not telltale(told.text), told.text


@FAULTS
def test_never_told_by_what_fails(lab: Lab, run: Runner, keeper: tuple[str, str], fault: Fault) -> None:
    """libvirt's own messages, and the definition that could not be stored."""
    name, uuid = keeper
    run(domain=name, **CHANGES[0][1], wait=False).end().is_green()
    answers: list[Answer] = []
    with fault(lab):
        answers.append(run(domain=name, alias=ALIAS, size="2GiB", wait=False).end().failed_with("libvirt_error"))
        ready = [{"name": name, "devices": [{"alias": ALIAS}], **READY}]
        answers.append(run("memory_layout", domains=ready).end().failed_with("libvirt_error"))
    assert not [answer.text for answer in answers if telltale(answer.text)]
    kept(lab, name, uuid)


def test_never_told_at_any_verbosity(lab: Lab, keeper: tuple[str, str], play: t.Any) -> None:
    name, uuid = keeper
    book = play({"domain": name, **CHANGES[0][1]}, None, "-vvvvv", "--diff")
    output, _nothing = book.communicate(timeout=120)
    assert book.returncode == 0, output
    book = play({"domain": name, "alias": ALIAS, "size": "2GiB"}, None, "-vvvvv", "--diff")
    more, _nothing = book.communicate(timeout=120)
    assert book.returncode == 0, more
    assert "redefine" in more
    assert not telltale(output + more)
    kept(lab, name, uuid)
