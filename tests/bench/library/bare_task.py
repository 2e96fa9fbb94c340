# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The least that a task on libvirt can do: imports what there is to import, connects, reads and parses XML thrice."""

from __future__ import annotations

import libvirt
from ansible.module_utils.basic import AnsibleModule
from lxml import etree


def main() -> None:
    """Changes nothing."""
    module = AnsibleModule({"uri": {"type": "str"}, "domain": {"type": "str"}})
    connection = libvirt.open(module.params["uri"])
    domain = connection.lookupByName(module.params["domain"])
    texts = [domain.XMLDesc(0), domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), domain.XMLDesc(0)]
    connection.close()
    module.exit_json(changed=False, elements=sum(len(list(etree.fromstring(text).iter())) for text in texts))


if __name__ == "__main__":
    main()
