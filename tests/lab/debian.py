# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest with Debian's own user space: systemd, udev, Python and sshd, as a disk for the lab. Only root can build it.

It is as Debian makes it: nobody has set anything about memory. Its kernel and initramfs stand beside the disk, since
the lab's guests boot without a boot loader; GRUB is installed all the same, for its configuration.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import archive
import release

PACKAGES = (
    *("systemd-sysv", "udev", "kmod", "initramfs-tools", "zstd", "grub2-common", "linux-image-cloud-amd64"),
    *("openssh-server", "python3", "iproute2"),
)
DISK = "3G"

SETTLE = """\
set -eu
root=$1
mkdir -p "$root/root/.ssh" "$root/boot/grub"
cat "$2" > "$root/root/.ssh/authorized_keys"
printf '[Match]\\nName=en* eth*\\n[Network]\\nDHCP=ipv4\\n' > "$root/etc/systemd/network/10-all.network"
chroot "$root" systemctl --quiet enable systemd-networkd ssh
# Under emulation nobody waits for a console in time.
chroot "$root" systemctl --quiet mask serial-getty@ttyS0.service
echo '/dev/vda / ext4 errors=remount-ro 0 1' > "$root/etc/fstab"
[ -f "$root/etc/default/grub" ] || cp "$root/usr/share/grub/default/grub" "$root/etc/default/grub"
rm -f "$root"/var/cache/apt/archives/*.deb
"""


@dataclass(frozen=True)
class System:
    """What a guest boots, and who may enter it."""

    kernel: Path
    initramfs: Path
    disk: Path
    key: Path


def _system_in(folder: Path) -> System:
    return System(folder / "vmlinuz", folder / "initrd.img", folder / "disk.img", folder / "key")


def build(name: str) -> System:
    """The disk of a release, from the cache where it is there already.

    Raises:
        archive.ArchiveError: it can't be built.
    """
    recipe = hashlib.sha256(repr((PACKAGES, DISK, SETTLE)).encode()).hexdigest()[:10]
    target = archive.CACHE / f"debian-{name}-{recipe}"
    if target.is_dir():
        return _system_in(target)
    archive.CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.CACHE) as folder:
        root, built = Path(folder) / "root", Path(folder) / "built"
        built.mkdir()
        release.bootstrap(name, str(root), PACKAGES)
        archive.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(built / "key"))
        archive.run("sh", "-c", SETTLE, "sh", str(root), str(built / "key.pub"))
        for part in ("vmlinuz", "initrd.img"):
            shutil.copyfile(next((root / "boot").glob(f"{part}-*")), built / part)
        archive.run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(built / "disk.img"), DISK)
        archive.keep(built, target)
    return _system_in(target)


def domain_xml(name: str, system: System, port: int, words: str, requested: str) -> str:
    """The definition of a guest whose sshd is reached at a port of this machine's, with a virtio-mem device of 4 GiB.

    Args:
        name: the domain's.
        system: files that the lab's user can read.
        port: of 127.0.0.1.
        words: for the kernel's command line, beside what every boot needs.
        requested: of the device.
    """
    network = (
        "<qemu:commandline><qemu:arg value='-netdev'/>"
        f"<qemu:arg value='user,id=lab0,hostfwd=tcp:127.0.0.1:{port}-:22'/><qemu:arg value='-device'/>"
        "<qemu:arg value='virtio-net-pci,netdev=lab0,bus=pcie.0,addr=0x1d'/></qemu:commandline>"
    )
    return f"""<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <maxMemory slots='4' unit='GiB'>16</maxMemory>
  <memory unit='MiB'>768</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{system.kernel}</kernel><initrd>{system.initramfs}</initrd>
    <cmdline>root=/dev/vda rw console=ttyS0 quiet mitigations=off {words}</cmdline></os>
  <features><acpi/></features>
  <cpu mode='custom'><model>qemu64</model><numa><cell id='0' cpus='0' memory='768' unit='MiB'/></numa></cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <controller type='pci' index='0' model='pcie-root'/>
    {"<controller type='pci' model='pcie-root-port'/>" * 6}
    <disk type='file' device='disk'><driver name='qemu' type='raw' cache='unsafe'/><source file='{system.disk}'/>
      <target dev='vda' bus='virtio'/></disk>
    <memory model='virtio-mem'><target><size unit='GiB'>4</size><node>0</node><block unit='MiB'>2</block>
      <requested unit='KiB'>{requested}</requested></target><alias name='ua-vm0'/></memory>
    <serial type='null'/>
    <memballoon model='virtio'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
  {network}
</domain>"""
