# Copyright (c) 2026 virtmem.libvirt contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
"""What libvirt says of a domain, as values: reads and decodes, and plans nothing.

Whoever wants to know what a domain is like comes here, whether it then plans, reports, or listens to events.
"""

from __future__ import annotations

import typing as t

from ._libvirt import calls
from ._libvirt.connection import Hypervisor, Reading
from ._memory.device import CONFIG, LIVE, SCOPES, Definition, Domain
from ._memory.xml import element
from ._memory.xml.reading import read_definition

SAVED = "saved"  # the managed-save image, beside the two scopes

Decoder = t.Callable[[str, str], Definition]


def missing_libraries() -> t.Iterator[tuple[str, str, str]]:
    """Each library that could not be imported: its name, the package that has it, and why."""
    for library, package, trace in (
        ("libvirt-python", "python3-libvirt", calls.LIBVIRT_IMPORT_ERROR),
        ("lxml", "python3-lxml", element.LXML_IMPORT_ERROR),
    ):
        if trace:
            yield library, package, trace


def _decode_anew(_scope: str, text: str) -> Definition:
    return read_definition(text)


def decode(reading: Reading, decoder: Decoder = _decode_anew) -> Domain:
    """What was read of a domain, as values.

    Args:
        reading: the domain as libvirt describes it.
        decoder: makes a definition of the XML of a scope.

    Raises:
        VirtmemError: `invalid_xml`.
    """

    def definition(scope: str, text: str | None) -> Definition | None:
        return None if text is None else decoder(scope, text)

    live = definition(LIVE, reading.live_xml)
    # libvirt answers with the configuration if the domain has stopped meanwhile.
    stopped = live is not None and not live.active
    return Domain(
        name=reading.name,
        uuid=reading.uuid,
        state="shutoff" if stopped else reading.state,
        persistent=reading.persistent,
        error_paused=reading.error_paused,
        live=None if stopped else live,
        config=definition(CONFIG, reading.config_xml),
        saved=definition(SAVED, reading.saved_xml),
        guest=reading.guest,
    )


class Observer:
    """Reads domains over one connection, and decodes only what is not as it was when it was last read.

    A domain is read again before each change of it and after each event, and is nearly always as it was.
    """

    def __init__(self, hypervisor: Hypervisor) -> None:
        """Nothing is read yet."""
        self.hypervisor = hypervisor
        self._last: dict[tuple[str, str], tuple[str, Definition]] = {}

    def observe(self, uuid: str, scopes: t.Sequence[str] = SCOPES) -> Domain:
        """The domain as it is now, in these scopes.

        Raises:
            VirtmemError: it can't be read.
        """
        return self.decoded(self.hypervisor.read(uuid, scopes))

    def decoded(self, reading: Reading) -> Domain:
        """What was read of a domain, as values.

        Raises:
            VirtmemError: `invalid_xml`.
        """

        def decoder(scope: str, text: str) -> Definition:
            last, definition = self._last.get((reading.uuid, scope), ("", None))
            if definition is None or last != text:
                definition = read_definition(text)
                self._last[reading.uuid, scope] = text, definition
            return definition

        return decode(reading, decoder)

    def forget(self, uuid: str) -> None:
        """The domain is gone: whoever watches for months must not keep all that ever were."""
        for key in [key for key in self._last if key[0] == uuid]:
            del self._last[key]
        self.hypervisor.forget(uuid)
