"""The TXT record: a version, and the signed record as a binary value. Pure.

It is read here and not by zeroconf, which takes keys by their case and strings that overrun.
"""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_RECORD_BYTES", "MAX_TXT_BYTES", "encode_txt", "record_in"]

MAX_TXT_BYTES: Final = 1300
"""The most that is read: what fits in one packet, and what Android takes."""
MAX_RECORD_BYTES: Final = 247
"""With its key it stays below 255 bytes, as Android demands."""

_VERSION_KEY: Final = b"txtvers"
_VERSION: Final = b"1"
_RECORD_KEY: Final = b"record"
_START: Final = b"\x09txtvers=1"
_RECORD_START: Final = b"record="


def encode_txt(record: bytes) -> bytes:
    """Encode the strings of our TXT record.

    Args:
        record: The signed record, at most 247 bytes.

    Raises:
        ValueError: it is longer.

    Source: RFC 6763 §6.
    """
    if len(record) > MAX_RECORD_BYTES:
        raise ValueError(
            f"a record in a TXT record has at most {MAX_RECORD_BYTES} bytes; this has {len(record)}"
        )
    return b"%b%c%b%b" % (_START, len(_RECORD_START) + len(record), _RECORD_START, record)


def record_in(text: bytes) -> bytes | None:
    """Take the signed record out of a TXT record; nothing of it is believed yet.

    Args:
        text: The strings, each after its length.

    Returns:
        1 to 247 bytes. None when there are none; when the strings overrun, are of another version, or are
        more than 1,300 bytes altogether.

    Source: RFC 6763 §6.4 (keys in any case, the first of a key counts, unknown ones and strings without a key
    do not) and §6.7 (the version; without one it is ours).
    """
    size = len(text)
    if size > MAX_TXT_BYTES:
        return None
    version: bytes | None = None
    record: bytes | None = None
    at = 0
    while at < size:
        start = at + 1
        at = start + text[at]
        if at > size:
            return None
        key, _, value = text[start:at].partition(b"=")
        key = key.lower()
        if key == _VERSION_KEY:
            if version is None:
                version = value
        elif key == _RECORD_KEY and record is None:
            record = value
    if version is not None and version != _VERSION:
        return None
    if not record or len(record) > MAX_RECORD_BYTES:
        return None
    return record
