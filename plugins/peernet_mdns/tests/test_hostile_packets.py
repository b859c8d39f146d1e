"""Whatever a packet holds, reading it raises nothing, lets in nothing malformed, and loses nobody else."""

from __future__ import annotations

import logging
import re
import struct
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zeroconf._dns import DNSAddress, DNSPointer, DNSRecord, DNSService, DNSText
from zeroconf._protocol.incoming import DNSIncoming
from zeroconf._protocol.outgoing import DNSOutgoing

from peernet_mdns.answers import Claim, Claims, read_claims
from peernet_mdns.names import SERVICE, host_name, instance_name, type_name
from peernet_mdns.txt import MAX_RECORD_BYTES, encode_txt
from peernet_mdns.zeroconf_log import LOGGER_NAME, escape_log

ALIAS: Final = "abcdefghijklmnopqrstuvwxyz"
HOSTILE_ALIAS: Final = "z" * 26
RECORD: Final = b"\xd2" + bytes(range(200))
GOOD: Final = Claim(ALIAS, RECORD, 120.0, complete=True)
TYPE: Final = type_name(SERVICE)
FORM: Final = re.compile("[a-z2-7]{26}")
CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def good_packet() -> bytes:
    out = DNSOutgoing(0x8400)
    name, host = instance_name(ALIAS, SERVICE), host_name(ALIAS)
    records: list[DNSRecord] = [
        DNSPointer(TYPE, 12, 1, 4500, name),
        DNSService(name, 33, 0x8001, 120, 0, 0, 7100, host),
        DNSText(name, 16, 0x8001, 4500, encode_txt(RECORD)),
        DNSAddress(host, 1, 0x8001, 120, b"\x0a\x4d\x00\x01"),
    ]
    for record in records:
        out.add_answer_at_time(record, 0)
    (packet,) = out.packets()
    return packet


PACKET: Final = good_packet()
HEADER_BYTES: Final = 12


def encode_name(labels: list[bytes]) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def encode_record(name: bytes, kind: int, ttl: int, content: bytes) -> bytes:
    return name + struct.pack("!HHIH", kind, 1, ttl, len(content)) + content


def encode_packet(records: list[bytes]) -> bytes:
    return struct.pack("!HHHHHH", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records)


def with_good(records: list[bytes], *, good_first: bool) -> bytes:
    """Records beside those of a correct peer, whose names are spelled out to stand anywhere."""
    name = encode_name([ALIAS.encode(), b"_peernet", b"_tcp", b"local"])
    good = [
        encode_record(encode_name([b"_peernet", b"_tcp", b"local"]), 12, 4500, name),
        encode_record(name, 33, 120, struct.pack("!HHH", 0, 0, 7100) + encode_name([b"x", b"local"])),
        encode_record(name, 16, 4500, encode_txt(RECORD)),
    ]
    return encode_packet(good + records if good_first else records + good)


def read(packet: bytes) -> Claims:
    """Read as the shell does, and check what holds of every packet."""
    claims = read_claims(DNSIncoming(packet, ("10.77.0.2", 5353), 3, 1000.0).answers(), SERVICE)
    for claim in claims.claims:
        assert FORM.fullmatch(claim.alias)
        assert claim.record is None or 1 <= len(claim.record) <= MAX_RECORD_BYTES
        assert 0 <= claim.ttl_s < 2**32
    assert len({claim.alias for claim in claims.claims}) == len(claims.claims) <= 64
    return claims


NASTY = st.sampled_from(
    [
        b"\x1b[31m",
        b"a\nb",
        "\u202eabc".encode(),
        "\u200f".encode(),
        b"a.b",
        b"\xff\xfe",
        b"x" * 63,
        b"%s",
        b"\0",
    ]
)
LABELS = NASTY | st.binary(min_size=1, max_size=63) | st.just(HOSTILE_ALIAS.encode())
OUR_TYPE = [b"_peernet", b"_tcp", b"local"]
NAMES = st.one_of(
    LABELS.map(lambda label: encode_name([label, *OUR_TYPE])),
    st.lists(LABELS, max_size=6).map(encode_name),
    st.just(encode_name(OUR_TYPE)),
    st.integers(0, 0x3FFF).map(lambda at: struct.pack("!H", 0xC000 | at)),
)
TEXTS = st.one_of(
    st.binary(max_size=1400),
    st.sampled_from([b"", b"\0", b"\xff", b"\x09record=x", b"\x0atxtvers=22\x08record=x"]),
    st.binary(max_size=248).map(lambda value: bytes([7 + len(value)]) + b"record=" + value),
)
TTLS = st.sampled_from([0, 1, 120, 4500, 2**31, 2**32 - 1])
SERVICES = NAMES.map(lambda name: struct.pack("!HHH", 0, 0, 7100) + name)
RECORDS = st.one_of(
    st.builds(encode_record, st.just(encode_name(OUR_TYPE)), st.just(12), TTLS, NAMES),
    st.builds(encode_record, NAMES, st.just(16), TTLS, TEXTS),
    st.builds(encode_record, NAMES, st.just(33), TTLS, SERVICES),
    st.builds(encode_record, NAMES, st.integers(0, 65535), TTLS, st.binary(max_size=40)),
)
# Their records end where they say and point nowhere, so what follows them can be read.
WHOLE_NAMES = LABELS.map(lambda label: encode_name([label, *OUR_TYPE]))
WHOLE_RECORDS = st.one_of(
    st.builds(encode_record, st.just(encode_name(OUR_TYPE)), st.just(12), TTLS, WHOLE_NAMES),
    st.builds(encode_record, WHOLE_NAMES, st.just(16), TTLS, TEXTS),
    st.builds(encode_record, WHOLE_NAMES, st.sampled_from([1, 28, 33, 47]), TTLS, st.binary(max_size=40)),
)


@given(st.binary(max_size=600) | st.binary(max_size=200).map(lambda tail: PACKET[:HEADER_BYTES] + tail))
def test_any_bytes_are_read_without_raising(packet: bytes) -> None:
    """With and without the header of a response; the next packet is read as ever."""
    read(packet)
    assert read(PACKET) == Claims((GOOD,), 0)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A correct packet in which bytes are changed, cut, put in again, or made a compression pointer."""
    packet = bytearray(PACKET)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(packet) - 1)))
        match draw(st.sampled_from(["flip", "cut", "splice", "pointer"])):
            case "flip":
                packet[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "cut":
                del packet[at:]
            case "splice":
                start = draw(st.integers(0, len(PACKET)))
                packet[at:at] = PACKET[start : start + draw(st.integers(0, 80))]
            case _:
                packet[at : at + 2] = struct.pack("!H", 0xC000 | draw(st.integers(0, len(PACKET) + 4)))
    return bytes(packet)


@given(mutated())
def test_a_damaged_packet_is_read_without_raising(packet: bytes) -> None:
    """What of it still has the form may be read; the next packet is read as ever."""
    read(packet)
    assert read(PACKET) == Claims((GOOD,), 0)


@given(st.lists(RECORDS, max_size=8))
def test_hostile_records_are_read_without_raising(records: list[bytes]) -> None:
    """Names and texts of every kind, loops of pointers among them; the next packet is read as ever."""
    read(encode_packet(records))
    assert read(PACKET) == Claims((GOOD,), 0)


@given(st.lists(WHOLE_RECORDS, max_size=8), st.booleans())
def test_a_correct_peer_is_read_beside_hostile_records(records: list[bytes], good_first: bool) -> None:
    """In the same packet, before them or after them."""
    assert GOOD in read(with_good(records, good_first=good_first)).claims


def test_a_packet_full_of_instances_is_read_up_to_the_limit() -> None:
    """The rest is counted."""
    base32 = "abcdefghijklmnopqrstuvwxyz234567"
    names = [encode_name([f"{'a' * 24}{a}{b}".encode(), *OUR_TYPE]) for a in base32 for b in base32[:16]]
    claims = read(encode_packet([encode_record(encode_name(OUR_TYPE), 12, 4500, name) for name in names]))
    assert (len(claims.claims), claims.refused) == (64, len(names) - 64)


@pytest.fixture
def escaped_log() -> None:
    escape_log()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(RECORDS | WHOLE_RECORDS, max_size=6))
@pytest.mark.usefixtures("escaped_log")
def test_nothing_is_logged_as_it_arrived(caplog: pytest.LogCaptureFixture, records: list[bytes]) -> None:
    """We log nothing here, and of what zeroconf logs nothing unprintable gets out."""
    caplog.clear()
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, LOGGER_NAME):
        read(encode_packet(records))
    for line in caplog.records:
        assert line.name == LOGGER_NAME
        assert CONTROL.search(line.getMessage()) is None
        assert line.exc_info is None
        assert all(CONTROL.search(each) is None for each in (line.exc_text or "").split("\n"))


@pytest.mark.usefixtures("escaped_log")
def test_names_that_zeroconf_repeats_raw_are_escaped(caplog: pytest.LogCaptureFixture) -> None:
    """Twice in a message, once in an exception; the lines are still there to read."""
    evil = encode_name([b"\x1b[31m\n", *OUR_TYPE])
    long = encode_name([b"\x1b" + b"x" * 62] * 5)
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, LOGGER_NAME):
        read(encode_packet([encode_record(evil, 33, 120, b"")]))
        read(encode_packet([encode_record(evil, 1, 120, bytes(9))]))
        read(encode_packet([encode_record(long, 1, 120, bytes(4))]))
    messages = [line.getMessage() for line in caplog.records]
    assert not any(map(CONTROL.search, messages))
    for start in ("Unable to parse; skipping record for ", "Record for "):
        assert any(message.startswith(rf"{start}\x1b[31m\n._peernet._tcp.local.") for message in messages)
    texts = [line.exc_text or "" for line in caplog.records]
    assert any(r"\x1bxxx" in text and "exceeds maximum length" in text for text in texts)
    assert "\x1b" not in "".join(texts)
