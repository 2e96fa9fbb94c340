#!/bin/sh
# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Sets the running kernel, or with `check` only says what it would set: a line for each change, nothing if there is none.
#
# Usage: now.sh WORD POLICY set|check; WORD is what the kernel calls it when a block goes online.

word=$1
policy=$2
mode=$3
memory=/sys/devices/system/memory
parameters=/sys/module/memory_hotplug/parameters

# The new content of a file of the kernel.
put() {
    old=$(cat "$1")
    [ "$old" = "$2" ] && return
    echo "$1: $old -> $2"
    [ "$mode" = check ] || echo "$2" > "$1"
}

for driver in virtio_mem virtio_balloon; do
    [ -d /sys/bus/virtio/drivers/$driver ] && continue
    modprobe --quiet --dry-run $driver || continue
    echo "$driver: loaded"
    [ "$mode" = check ] || modprobe $driver
done
if [ "$policy" = auto-movable ]; then
    put $parameters/auto_movable_ratio 301
    put $parameters/online_policy auto-movable
elif [ -e $parameters/online_policy ]; then
    # What is movable by name does not ask; `contig-zones` is the kernel's own default.
    put $parameters/online_policy contig-zones
fi
put $memory/auto_online_blocks "$word"
for state in "$memory"/memory*/state; do
    [ "$(cat "$state")" = offline ] && put "$state" "$word"
done
exit 0
