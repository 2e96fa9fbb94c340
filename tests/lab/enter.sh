#!/bin/sh
# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# Runs a command in the mount namespace that the caller has just made (unshare --mount), with a /dev of its own.
#
#   enter.sh FOLDER ROOT COMMAND...
#
# FOLDER is the lab's. ROOT is another release's root, in which the command then runs, or empty for the machine's own.
# All mounts vanish with the last process in the namespace; nothing outside ever sees them. They are moved without a
# note in mount's own files (-n), which a normal user in a user namespace can't write; nor may one mount a /proc of its own.

set -eu
folder=$1 root=$2
shift 2

# A /dev without kvm: libvirt distrusts its cache of QEMU's capabilities where /dev/kvm can be opened but does not work,
# and probes again at every parse, for half a minute each. Binding works in a user namespace too, mknod does not.
dev="$folder/ns/dev"
mkdir -p "$dev"
mount -t tmpfs -o mode=755 dev "$dev"
for node in null zero full random urandom tty ptmx; do
    : > "$dev/$node"
    mount --bind "/dev/$node" "$dev/$node"
done
ln -s /proc/self/fd "$dev/fd"
mkdir "$dev/pts" "$dev/shm"
mount --bind /dev/pts "$dev/pts"
mount -t tmpfs -o mode=1777 shm "$dev/shm"

if [ -z "$root" ]; then
    mount -n --move "$dev" /dev
    exec "$@"
fi

# Of the release's root only the programs and their settings are used, read-only; the rest is made afresh.
new="$folder/ns/root"
mkdir -p "$new"
mount -t tmpfs -o mode=755 root "$new"
mkdir "$new/usr" "$new/etc" "$new/proc" "$new/sys" "$new/dev" "$new/run" "$new/var"
mkdir -m 1777 "$new/tmp" "$new/var/tmp"
for link in bin sbin lib lib64; do
    ln -s "usr/$link" "$new/$link"
done
for part in usr etc; do
    mount --bind "$root/$part" "$new/$part"
    mount -o remount,bind,ro "$new/$part"
done
# The lab's user exists on the machine only.
for file in passwd group; do
    mount --bind "/etc/$file" "$new/etc/$file"
done
mount --rbind /proc "$new/proc"
mount --rbind /sys "$new/sys"
# At the same path inside, so that the socket, the consoles and the images are where everybody says they are.
mkdir -p "$new$folder"
mount --bind "$folder" "$new$folder"
mount -n --move "$dev" "$new/dev"
# Not chroot alone: who is in one may make no further user namespace.
mkdir "$new/outside"
cd "$new"
pivot_root . outside
umount --lazy /outside
exec chroot . "$@"
