"""The names in an X.509 certificate that was refused: only for a message, so it reads what it can and never fails.

The standard library decodes certificates it has verified and no others, so this walks the DER itself (ITU-T X.690, RFC 5280).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

_COMMON_NAME = bytes.fromhex("550403")  # 2.5.4.3
_ALTERNATIVE_NAMES = bytes.fromhex("551d11")  # 2.5.29.17
_UTC_TIME, _EXTENSIONS, _VERSION = 0x17, 0xA3, 0xA0
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87
_MAX_NAMES = 8


def describe(der: bytes | None) -> str:
    """One line: the names a certificate is for, who issued it, and its dates; `certificate not readable` when that cannot be."""
    if der is None:
        return "certificate not readable"
    try:
        return _describe(der)
    except (ValueError, IndexError):
        return "certificate not readable"


def _describe(der: bytes) -> str:
    (_, certificate), *_ = _items(der)
    (_, to_be_signed), *_ = _items(certificate)
    fields = [item for item in _items(to_be_signed) if item[0] != _VERSION]
    _serial, _algorithm, (_, issuer), (_, validity), (_, subject), *rest = fields
    names = [_common_name(subject)]
    for tag, value in rest:
        if tag == _EXTENSIONS:
            names += _alternative_names(value)
    unique = [name for name in dict.fromkeys(names) if name]
    shown = ", ".join(unique[:_MAX_NAMES]) + (", ..." if len(unique) > _MAX_NAMES else "")
    start, end = (_time(tag, value) for tag, value in _items(validity))
    return f"it is for {shown or 'no name'}; issued by {_common_name(issuer) or 'no name'}; valid {start} to {end}"


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The (tag, content) pairs of a DER sequence; ValueError when one does not fit."""
    position = 0
    while position < len(data):
        tag, length = data[position], data[position + 1]
        position += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[position : position + count], "big")
            position += count
        if position + length > len(data):
            raise ValueError("longer than its container")
        yield tag, data[position : position + length]
        position += length


def _common_name(name: bytes) -> str:
    for _, relative in _items(name):
        for _, attribute in _items(relative):
            (_, kind), (_, value), *_ = _items(attribute)
            if kind == _COMMON_NAME:
                return _text(value)
    return ""


def _alternative_names(wrapped: bytes) -> list[str]:
    (_, extensions), *_ = _items(wrapped)
    for _, extension in _items(extensions):
        parts = list(_items(extension))
        if parts[0][1] == _ALTERNATIVE_NAMES:
            (_, names), *_ = _items(parts[-1][1])
            return [
                _text(value) if tag == _DNS_NAME else str(ipaddress.ip_address(value))
                for tag, value in _items(names)
                if tag in {_DNS_NAME, _IP_ADDRESS}
            ]
    return []


def _text(value: bytes) -> str:
    """A name is whatever the other side wrote: printable ASCII of it, at most 64 characters."""
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in value[:64])


def _time(tag: int, value: bytes) -> str:
    """RFC 5280, 4.1.2.5: UTCTime has two digits of the year, 50 and above meaning 19xx."""
    text = _text(value)
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}"
