# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hosts of an inventory a libvirt URI belongs to."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.virtmem.libvirt.plugins.filter import sizing_hosts
from ansible_collections.virtmem.libvirt.plugins.plugin_utils import _hosts

SYSTEM, SESSION = "qemu:///system", "qemu:///session"


def host(name: str, **variables: t.Any) -> dict[str, t.Any]:
    """The variables of a host."""
    return {"inventory_hostname": name, **variables}


HOSTS = [
    host("hv1"),
    host("hv2", ansible_host="hv2.example.com", sizing_uri=SYSTEM),
    host("far", sizing_uri="qemu+ssh://root@10.0.0.3/system"),
    host("mine", ansible_connection="local", sizing_uri=SESSION),
    host("localhost"),
]


@pytest.mark.parametrize(
    ("uri", "names"),
    [
        ("qemu+ssh://hv1/system", ["hv1"]),
        ("qemu+tls://root@HV1:16514/system", ["hv1"]),
        ("qemu+ssh://hv2.example.com/system", ["hv2"]),
        ("qemu+ssh://hv2/system", ["hv2"]),
        ("qemu+ssh://hv1/session", []),
        ("qemu+ssh://root@10.0.0.3/system", ["far"]),
        ("qemu+ssh://10.0.0.3/system", []),
        (SESSION, ["mine"]),
        (SYSTEM, ["localhost"]),
        ("qemu+ssh://hv3/system", []),
    ],
)
def test_a_uri_belongs_to_the_host_that_has_it(uri: str, names: list[str]) -> None:
    assert _hosts.hosts_of(HOSTS, uri) == names


@pytest.mark.parametrize(("known", "names"), [("hv1", ["hv1"]), (["hv1", "hv2"], ["hv1", "hv2"])])
def test_what_is_known_counts_before_what_could_be_found(known: t.Any, names: list[str]) -> None:
    assert _hosts.hosts_of(HOSTS, SESSION, {SESSION: known}) == names
    assert _hosts.hosts_of(HOSTS, SESSION, {SYSTEM: known}) == ["mine"]


def test_several_uris_have_all_their_hosts_once() -> None:
    assert _hosts.hosts_of(iter(HOSTS), ["qemu+ssh://hv1/system", SESSION, SESSION]) == ["hv1", "mine"]


def test_the_filter() -> None:
    assert sizing_hosts.FilterModule().filters() == {"sizing_hosts": _hosts.hosts_of}
