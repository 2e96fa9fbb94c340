#!/bin/sh
# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What the guest is and has, a line NAME=VALUE each. It changes nothing.
#
# Usage: look.sh now|image; in an image, the kernel that runs is somebody else's.

mode=$1

memory=/sys/devices/system/memory
parameters=/sys/module/memory_hotplug/parameters
# A file of the kernel; nothing if it is not there.
read_file() { cat "$1" 2>/dev/null; }
# yes if this succeeds.
is() { if "$@" >/dev/null 2>&1; then echo yes; else echo no; fi; }
# Those that count: the kernel that runs, and in an image each that is installed.
kernels='/lib/modules/*'
[ "$mode" = now ] && [ -d "/lib/modules/$(uname -r)" ] && kernels=/lib/modules/$(uname -r)
# Whether the kernel that runs has it at work.
works() { [ "$mode" = now ] && [ -d "/sys/bus/virtio/drivers/$1" ]; }

echo "system=$(uname -s)"
echo "kernel=$(uname -r)"
echo "policy=$(read_file $memory/auto_online_blocks)"
echo "online_policy=$(read_file $parameters/online_policy)"
echo "offline=$(cat $memory/memory*/state 2>/dev/null | grep -c offline)"
# In bytes. What is outside of the zone Movable can be the kernel's own: the memory that the guest was booted with.
echo "boot=$(awk -v page="$(getconf PAGESIZE)" '/^Node/ {zone = $4} $1 == "present" && zone != "Movable" {pages += $2}
    END {printf "%.0f", pages * page}' /proc/zoneinfo 2>/dev/null)"
echo "total=$(awk '$1 == "MemTotal:" {printf "%.0f", $2 * 1024}' /proc/meminfo 2>/dev/null)"
echo "grub=$(is test -x /usr/sbin/update-grub -a -f /etc/default/grub -a -d /boot/grub)"
echo "menu=$(sed -n 's/^[[:space:]]*linux.* \(memhp_default_state=[^ ]*\( memory_hotplug\.[^ ]*\)*\).*/\1/p' /boot/grub/grub.cfg 2>/dev/null | head -n 1)"
echo "foreign=$(grep -ls '^[^#]*memhp_default_state' /etc/default/grub /etc/default/grub.d/*.cfg | grep -v /90-virtmem.cfg | head -n 1)"
echo "udev=$(is command -v udevadm)"
drivers=
loaded=
for driver in virtio_mem virtio_balloon; do
    works $driver && loaded="$loaded $driver"
    for kernel in $kernels; do
        if works $driver || grep -qs "/$driver\.ko" "$kernel/modules.builtin" "$kernel/modules.dep"; then
            drivers="$drivers $driver"
            break
        fi
    done
done
echo "drivers=${drivers# }"
echo "loaded=${loaded# }"
initramfs=
if [ -x /usr/sbin/update-initramfs ] && [ -f /etc/initramfs-tools/modules ]; then
    initramfs='initramfs-tools'
    wanted=/etc/initramfs-tools/modules
elif [ -x /usr/bin/dracut ] && [ -d /etc/dracut.conf.d ]; then
    initramfs=dracut
    wanted=/etc/dracut.conf.d/90-virtmem.conf
fi
echo "initramfs=$initramfs"
# An initramfs that is older than what this role had it made with.
stale=no
for kernel in /lib/modules/*; do
    for image in "/boot/initrd.img-${kernel##*/}" "/boot/initramfs-${kernel##*/}.img"; do
        [ -n "$initramfs" ] && [ -n "$(find "$image" ! -newer "$wanted" 2>/dev/null)" ] && stale=yes
    done
done
echo "stale=$stale"
