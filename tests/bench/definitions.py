# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A hypervisor's worth of domains for libvirt's test driver, which reads them from a file."""

from __future__ import annotations

from pathlib import Path

# An ordinary guest of today: two disks, two networks, a console, a balloon, ports; and two memory devices.
_DOMAIN = """
<domain type='test'>
  <name>guest{number:04}</name>
  <uuid>6f5d1a4e-8f0b-4c57-9d53-{number:012x}</uuid>
  <maxMemory slots='16' unit='GiB'>64</maxMemory>
  <memory unit='GiB'>9</memory>
  <currentMemory unit='GiB'>{current}</currentMemory>
  <vcpu>4</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/><apic/></features>
  <cpu mode='host-model'><numa><cell id='0' cpus='0-3' memory='1' unit='GiB'/></numa></cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/><source file='/var/lib/libvirt/images/guest{number:04}.qcow2'/>
      <target dev='vda' bus='virtio'/><address type='pci' domain='0' bus='1' slot='0' function='0'/>
    </disk>
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/><target dev='sda' bus='sata'/><readonly/>
      <address type='drive' controller='0' bus='0' target='0' unit='0'/>
    </disk>
    <controller type='pci' index='0' model='pcie-root'/>
    {ports}
    <controller type='virtio-serial' index='0'>
      <address type='pci' domain='0' bus='2' slot='0' function='0'/>
    </controller>
    <interface type='network'>
      <mac address='52:54:00:{high:02x}:{low:02x}:01'/><source network='default'/><model type='virtio'/>
      <address type='pci' domain='0' bus='3' slot='0' function='0'/>
    </interface>
    <interface type='network'>
      <mac address='52:54:00:{high:02x}:{low:02x}:02'/><source network='storage'/><model type='virtio'/>
      <address type='pci' domain='0' bus='4' slot='0' function='0'/>
    </interface>
    <console type='pty'><target type='serial' port='0'/></console>
    <memballoon model='virtio'><address type='pci' domain='0' bus='5' slot='0' function='0'/></memballoon>
    <memory model='virtio-mem'>
      <target>
        <size unit='GiB'>4</size><node>0</node><block unit='MiB'>2</block><requested unit='GiB'>{requested}</requested>
      </target>
      <alias name='ua-vm0'/>
      <address type='pci' domain='0' bus='6' slot='0' function='0'/>
    </memory>
    <memory model='dimm'>
      <target><size unit='GiB'>4</size><node>0</node></target>
      <alias name='ua-dimm0'/>
      <address type='dimm' slot='0'/>
    </memory>
  </devices>
</domain>
"""
_PORTS = "".join(f"<controller type='pci' index='{index}' model='pcie-root-port'/>" for index in range(1, 15))


def write(path: Path, count: int) -> None:
    """Writes a file with so many domains, for `test://` and the path."""
    domains = (
        _DOMAIN.format(
            number=number,
            ports=_PORTS,
            current=5 + number % 4,
            requested=number % 4,
            high=number // 256 % 256,
            low=number % 256,
        )
        for number in range(count)
    )
    path.write_text(f"<node>{''.join(domains)}</node>")
    path.chmod(0o644)
