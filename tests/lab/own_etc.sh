#!/bin/sh
# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# Gives the mount namespace that it runs in an /etc of its own, to be written to, and becomes COMMAND.
#
#   unshare --mount --propagation private own_etc.sh COMMAND ...
#
# A file mounted over /etc/passwd would be gone as soon as anybody outside adds or removes a user, as labs do: the kernel
# takes a mount away when what it lies on is replaced. Nobody replaces a folder.

set -eu
new=$(mktemp -d)
mount -t tmpfs -o mode=755 none "$new"
cp -a /etc/. "$new" 2> /dev/null || true # somebody's lock or temporary file may be gone by then
mount --move "$new" /etc
rmdir "$new"
exec "$@"
