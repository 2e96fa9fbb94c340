#!/usr/bin/python
# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible module: what memory_device_info found on all hosts, on one page. Documentation; the action plugin of this
name does all of it, on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: memory_report
short_description: Write the memory of all libvirt guests of all hosts on one page
version_added: 1.0.0
author:
  - virtmem.libvirt contributors (@virtmem)
description:
  - Takes what M(virtmem.libvirt.memory_device_info) found on each host, and writes three files on the controller.
    C(index.html) is a page that needs nothing else, with what is wrong first, and then each hypervisor with its guests;
    C(virtmem.prom) has metrics for the textfile collector of node_exporter; C(survey.json) is all that was read.
  - Run it once for all hosts (C(run_once)). It connects to none of them, and reads their variables as they are.
  - The role P(virtmem.libvirt.report#role) is made with it.
options:
  dest:
    description:
      - The folder on the controller. It is made, if it is not there. If it is relative, it is beside the playbook.
    type: path
    required: true
  result:
    description:
      - The name of the variable that the result of M(virtmem.libvirt.memory_device_info) was registered as on each
        host.
      - A host that has no such variable is on the page as one that was not reached.
    type: str
    required: true
  hosts:
    description:
      - The hosts of the page. For each of them its name, or a dictionary with C(host) (its name), C(uri) (the libvirt
        URI, for people to see) and C(reserve) (what it is to have left, a quantity with a unit; a tenth, if nothing is
        given).
      - All hosts of the play, if it is not given.
    type: list
    elements: raw
  title:
    description:
      - The title of the page.
    type: str
    default: Memory of libvirt guests
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed, when in diff mode.
    support: none
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation changes nothing.
    support: none
    details:
      - The files say when they were made.
  action:
    description:
      - Indicates this has a corresponding action plugin so some parts of the options can be executed on the controller.
    support: full
    details:
      - All of it runs on the controller.
  async:
    description: Supports being used with the C(async) keyword.
    support: none
  bypass_host_loop:
    description:
      - Forces a C(global) task that does not execute per host.
    support: none
    details:
      - Say C(run_once), or each host writes the files.
seealso:
  - module: virtmem.libvirt.memory_device_info
"""

EXAMPLES = r"""
- name: What the domains of the host have
  virtmem.libvirt.memory_device_info:
    guest: true
  register: memory

- name: All of it on one page
  virtmem.libvirt.memory_report:
    dest: /var/www/html/memory
    result: memory
  run_once: true
  register: report

- name: What is wrong
  ansible.builtin.debug:
    msg: "{{ report.faults | map(attribute='message') }}"
  run_once: true
"""

RETURN = r"""
dest:
  description: The folder.
  returned: success
  type: str
  sample: /var/www/html/memory
hosts:
  description: How many hosts are on the page.
  returned: success
  type: int
  sample: 2
faults:
  description: What is wrong, in the order of the page.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description:
        - V(unreachable), V(unreadable), V(room), V(pressure), V(staged), or a kind of drift as
          M(virtmem.libvirt.memory_device_info) has them.
      type: str
      sample: not_converged
    host:
      description: The host.
      type: str
      sample: hv1
    domain:
      description: The domain, V(null) if it is the host itself.
      type: str
      sample: web1
    text:
      description: What is wrong.
      type: str
    message:
      description: All of it, with where it is.
      type: str
error_code:
  description:
    - C(invalid_option), also if the folder can't be written, or C(invalid_quantity).
  returned: failure
  type: str
  sample: invalid_option
"""
