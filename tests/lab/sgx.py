# Copyright (c) 2026 virtmem.libvirt contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes a lab's libvirt believe that its QEMU has SGX, so that definitions may have sgx-epc devices.

libvirt refuses such a definition where the processor has no SGX, and no emulation has it. What QEMU can do stands in a
file of libvirt's cache, which the daemon reads when it starts. A guest with such a device still can't be started.
"""

from __future__ import annotations

from xml.etree import ElementTree

import daemon
import libvirt

SUPPORTED = """\
<sgx supported='yes'>
  <flc>yes</flc><sgx1>yes</sgx1><sgx2>no</sgx2><section_size unit='KiB'>65536</section_size>
  <sections><section node='0' size='65536' unit='KiB'/></sections>
</sgx>"""


def pretend(lab: daemon.Lab) -> None:
    """Restarts the daemon with the belief, unless it holds it already; guests go on.

    Raises:
        daemon.LabError: the lab is not up, or libvirt keeps its cache elsewhere.
    """
    connection = daemon.connect(lab)
    try:
        # Asking has libvirt write the file.
        connection.getDomainCapabilities("/usr/bin/qemu-system-x86_64", "x86_64", "q35", "qemu", 0)
    except libvirt.libvirtError as error:
        raise daemon.LabError(f"libvirt does not say what QEMU can do: {error}") from error
    finally:
        connection.close()
    files = list((lab.folder / "cache").rglob("capabilities/*.xml"))
    if not files:
        raise daemon.LabError("libvirt keeps what it knows of QEMU in another place than the lab thinks.")
    trees = {path: ElementTree.parse(path) for path in files}
    if all(tree.find("sgx") is not None for tree in trees.values()):
        return
    with daemon.stopped(lab):
        for path, tree in trees.items():
            root = tree.getroot()
            root.insert([child.tag for child in root].index("flag"), ElementTree.Element("flag", name="sgx-epc"))
            root.append(ElementTree.fromstring(SUPPORTED))
            tree.write(path)
