"""What we publish can be published and found by Android's and Apple's own DNS-SD."""

from __future__ import annotations

import re
from typing import Final

import pytest

from peernet_core.records import MAX_RECORD_SIZE
from peernet_mdns.names import SERVICE
from peernet_mdns.txt import encode_txt

# Android's NsdServiceInfo throws above the first two, and warns above the third.
ANDROID_PAIR_BYTES: Final = 255
ANDROID_TXT_BYTES: Final = 1300
SMALL_TXT_BYTES: Final = 400
# RFC 6763 §6.4.
MAX_KEY_BYTES: Final = 9
# The form of an entry of NSBonjourServices: RFC 6335 §5.1 between "_" and "._tcp".
IOS_TYPE: Final = re.compile(
    r"_(?=[a-z0-9-]{1,15}\._)(?=[a-z0-9-]*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*\._(?:tcp|udp)"
)


def broken_limits(text: bytes) -> list[str]:
    """Which of Android's limits, and our own, a TXT record breaks."""
    broken = []
    if len(text) > ANDROID_TXT_BYTES:
        broken.append("total")
    if len(text) > SMALL_TXT_BYTES:
        broken.append("warning")
    at = 0
    while at < len(text):
        end = at + 1 + text[at]
        if end > len(text):
            return [*broken, "overrun"]
        key, equals, value = text[at + 1 : end].partition(b"=")
        if not equals:
            broken.append("no value")
        if not 1 <= len(key) <= MAX_KEY_BYTES or any(not 0x20 <= byte <= 0x7E for byte in key):
            broken.append("key")
        if len(key) + len(value) >= ANDROID_PAIR_BYTES:
            broken.append("pair")
        at = end
    return broken


@pytest.mark.parametrize("size", [1, MAX_RECORD_SIZE])
def test_what_we_publish_keeps_androids_limits(size: int) -> None:
    """With the shortest record there could be and with the longest there is."""
    assert broken_limits(encode_txt(b"\xff" * size)) == []


def test_no_record_that_is_encoded_breaks_them() -> None:
    """Our encoder's own limit lies within Android's."""
    assert broken_limits(encode_txt(bytes(247))) == []


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        (b"\x0btenletters=", ["key"]),
        (b"\x05k\x1by=x", ["key"]),
        (b"\x05k\xc3\xa9=x", ["key"]),
        (b"\x02=x", ["key"]),
        (b"\x03key", ["no value"]),
        (b"\x05key=", ["overrun"]),
        (b"\xffk=" + bytes(253), []),
        ((b"\xffk=" + bytes(253)) * 2, ["warning"]),
        ((b"\xffk=" + bytes(253)) * 6, ["total", "warning"]),
    ],
)
def test_the_check_finds_what_breaks_a_limit(text: bytes, broken: list[str]) -> None:
    """Else it would show nothing."""
    assert broken_limits(text) == broken


def test_our_type_can_be_listed_by_an_ios_application() -> None:
    """Its Info.plist names the exact type, and no wildcard; ours has the form."""
    assert SERVICE == "_peernet._tcp"
    assert IOS_TYPE.fullmatch(SERVICE)


@pytest.mark.parametrize(
    "service",
    [
        "_peernet._tcp.",
        "_peernet._tcp.local.",
        "peernet._tcp",
        "_peernet",
        "_Peernet._tcp",
        "_peer_net._tcp",
        "_-peer._tcp",
        "_peer-._tcp",
        "_peer--net._tcp",
        "_123._tcp",
        "_._tcp",
        "_abcdefghijklmnop._tcp",
    ],
)
def test_the_form_of_a_type_is_told_from_others(service: str) -> None:
    """Else it would show nothing."""
    assert IOS_TYPE.fullmatch(service) is None
