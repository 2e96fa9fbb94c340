#!/bin/sh
# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# A plain libvirt host for one test: root's own libvirtd, at qemu:///system, in a mount namespace that nobody else sees.
#
#   unshare --mount --propagation private ../lab/own_etc.sh plain_host.sh FOLDER
#
# Everything that it writes goes into FOLDER or is gone with it. Other processes come in by nsenter.

set -eu
folder=$1
for place in /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
    mkdir -p "$place"
    mount -t tmpfs -o mode=755 none "$place"
done
mkdir -p /etc/libvirt
# libvirt looks for the user and group that Debian's libvirt-daemon-system makes, even where others are set.
grep -q '^libvirt-qemu:' /etc/passwd ||
    echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >> /etc/passwd
grep -q '^libvirt-qemu:' /etc/group || echo 'libvirt-qemu:x:64055:' >> /etc/group
# A machine of the checks has no cgroups, no security modules and no log daemon.
cat > /etc/libvirt/qemu.conf << END
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
END
exec libvirtd --pid-file "$folder/libvirtd.pid"
