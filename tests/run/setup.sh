#!/usr/bin/env bash
# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# Installs the Debian packages that the checks and the lab need, and those of further lists, as root or with sudo. Quick when all are there.
set -eu
cd "$(dirname "$0")/../.."
more=("$@")

if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
    echo "This sets up Debian and Ubuntu only. Elsewhere, install what tests/lab/packages.txt and tests/run/packages.txt name." >&2
    exit 1
fi

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo > /dev/null; then
        sudo "$@"
    else
        echo "Packages are missing, and installing them takes root or sudo: $*" >&2
        exit 1
    fi
}

installed() {
    dpkg-query --show --showformat '${Package} ${db:Status-Status}\n' 2> /dev/null | sed -n 's/ installed$//p' | sort -u
}

wanted() {
    sed '/^#/d; /^$/d' tests/lab/packages.txt tests/run/packages.txt "${more[@]}" | sort -u
}

update() {
    as_root apt-get -qq update
}

mapfile -t missing < <(comm -13 <(installed) <(wanted))
# The lab unpacks the guest's kernel from the archive, so apt must know what is there.
[ -n "$(apt-cache search --names-only '^busybox-static$')" ] || update
if [ "${#missing[@]}" -gt 0 ]; then
    echo "Installing ${missing[*]}"
    # Lists that are old name packages that are gone, so a second try comes with new ones.
    install=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install --yes --no-install-recommends "${missing[@]}")
    as_root "${install[@]}" > /dev/null || { update && as_root "${install[@]}" > /dev/null; }
fi
