"""Elements of the DICOM files that SimpleITK writes (implicit little endian), replaced byte by byte."""

from __future__ import annotations

import struct

Tag = tuple[int, int]


def elements(raw: bytes) -> tuple[bytes, dict[Tag, bytes]]:
    """Return the preamble with the meta group, and the elements of the data set by tag."""
    place = 144 + struct.unpack_from("<I", raw, 140)[0]
    head, found = raw[:place], {}
    while place < len(raw):
        group, element, length = struct.unpack_from("<HHI", raw, place)
        found[group, element] = raw[place + 8 : place + 8 + length]
        place += 8 + length
    return head, found


def with_element(raw: bytes, tag: Tag, value: bytes) -> bytes:
    """Return the file with the element `tag` set to `value`, padded to an even length."""
    head, found = elements(raw)
    found[tag] = value + b" " * (len(value) % 2)
    parts = [struct.pack("<HHI", *key, len(found[key])) + found[key] for key in sorted(found)]
    return head + b"".join(parts)
