"""A response is read as claims, one of each instance; what is not of the form is counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zeroconf._dns import DNSAddress, DNSHinfo, DNSPointer, DNSRecord, DNSService, DNSText

from peernet_mdns.answers import Claim, Claims, read_claims
from peernet_mdns.names import SERVICE, host_name, instance_name, type_name
from peernet_mdns.txt import encode_txt

ALIAS = "abcdefghijklmnopqrstuvwxyz"
OTHER = "abcdefghijklmnopqrstuv2345"
TYPE = type_name(SERVICE)
BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
RECORD = b"\xd2" + bytes(200)


def ptr(alias: str = ALIAS, ttl: int = 4500) -> DNSPointer:
    return DNSPointer(TYPE, 12, 1, ttl, instance_name(alias, SERVICE))


def srv(alias: str = ALIAS, ttl: int = 120) -> DNSService:
    return DNSService(instance_name(alias, SERVICE), 33, 0x8001, ttl, 0, 0, 7100, host_name(alias))


def txt(alias: str = ALIAS, ttl: int = 4500, text: bytes | None = None) -> DNSText:
    return DNSText(
        instance_name(alias, SERVICE), 16, 0x8001, ttl, encode_txt(RECORD) if text is None else text
    )


def read(*records: DNSRecord) -> Claims:
    return read_claims(records, SERVICE)


def one(*records: DNSRecord) -> Claim:
    claims = read(*records)
    assert claims.refused == 0
    (claim,) = claims.claims
    return claim


@given(st.permutations([ptr(), srv(), txt(), DNSAddress(host_name(ALIAS), 1, 0x8001, 120, bytes(4))]))
def test_a_whole_answer_is_one_complete_claim(records: list[DNSRecord]) -> None:
    """In whatever order the records come; the TTL is that of the SRV."""
    assert read(*records) == Claims((Claim(ALIAS, RECORD, 120.0, goodbye=False, complete=True),), 0)


def test_the_ttl_is_that_of_the_best_record() -> None:
    """Of the SRV, else of the TXT, else of the PTR; only SRV and TXT together are complete."""
    assert one(ptr(ttl=3)) == Claim(ALIAS, None, 3.0)
    assert one(ptr(ttl=3), txt(ttl=4)) == Claim(ALIAS, RECORD, 4.0)
    assert one(ptr(ttl=3), srv(ttl=5)) == Claim(ALIAS, None, 5.0)
    assert one(srv(ttl=5), txt(ttl=4)) == Claim(ALIAS, RECORD, 5.0, complete=True)


@pytest.mark.parametrize(
    ("records", "goodbye"),
    [
        ((ptr(ttl=0),), True),
        ((srv(ttl=0),), True),
        ((txt(ttl=0),), True),
        ((ptr(ttl=0), srv(ttl=0), txt(ttl=0)), True),
        ((ptr(ttl=0), srv()), True),
        ((ptr(), srv(ttl=0)), True),
        ((ptr(ttl=0), txt()), True),
        ((ptr(), txt(ttl=0)), False),
        ((srv(), txt(ttl=0)), False),
        ((ptr(), srv(), txt()), False),
    ],
)
def test_a_ttl_of_zero_is_a_goodbye(records: tuple[DNSRecord, ...], goodbye: bool) -> None:
    """Of PTR or SRV; a TXT that is replaced says nothing of its instance unless it is alone."""
    assert one(*records).goodbye is goodbye


def test_a_goodbye_carries_its_record() -> None:
    """So a signed stop arrives with it."""
    assert one(ptr(ttl=0), srv(ttl=0), txt(ttl=0)).record == RECORD


@given(st.permutations([ptr(ttl=0), ptr(), srv(ttl=0), srv(), txt(ttl=0, text=encode_txt(b"old")), txt()]))
def test_a_record_that_is_replaced_in_one_packet_is_live(records: list[DNSRecord]) -> None:
    """A goodbye of the old one and the new one: the new one counts, in whatever order."""
    assert one(*records) == Claim(ALIAS, RECORD, 120.0, goodbye=False, complete=True)


def test_of_equal_records_the_first_counts() -> None:
    """Whether live or in a goodbye."""
    assert one(srv(ttl=7), srv(ttl=9), txt(), txt(text=encode_txt(b"second"))) == Claim(
        ALIAS, RECORD, 7.0, complete=True
    )
    assert one(ptr(ttl=7), ptr(ttl=9)).ttl_s == 7.0
    assert one(txt(ttl=0), txt(ttl=0, text=encode_txt(b"second"))).record == RECORD


def test_names_have_no_case() -> None:
    """Records of one instance in three spellings are one claim."""
    name = instance_name(ALIAS, SERVICE)
    claim = one(
        DNSPointer(TYPE.upper(), 12, 1, 4500, name.title()),
        DNSService(name.upper(), 33, 1, 120, 0, 0, 7100, "x.local."),
        DNSText(name, 16, 1, 4500, encode_txt(RECORD)),
    )
    assert claim == Claim(ALIAS, RECORD, 120.0, complete=True)


def test_what_is_not_of_our_type_is_left_alone() -> None:
    """Other people's services, subtypes, aliases of names, and classes are not even counted."""
    name = instance_name(ALIAS, SERVICE)
    foreign = f"{ALIAS}._http._tcp.local."
    assert read(
        DNSPointer("_http._tcp.local.", 12, 1, 4500, foreign),
        DNSPointer(f"_x._sub.{TYPE}", 12, 1, 4500, name),
        DNSPointer(TYPE, 5, 1, 4500, name),
        DNSPointer(TYPE, 12, 3, 4500, name),
        DNSService(foreign, 33, 1, 120, 0, 0, 80, "x.local."),
        DNSService(name, 33, 3, 120, 0, 0, 80, "x.local."),
        DNSText(foreign, 16, 1, 120, encode_txt(RECORD)),
        DNSText(name, 16, 3, 120, encode_txt(RECORD)),
        DNSText(TYPE, 16, 1, 120, encode_txt(RECORD)),
        DNSHinfo(name, 13, 1, 120, "cpu", "os"),
    ) == Claims((), 0)


@pytest.mark.parametrize(
    "label", ["", "Printer", "a\x1b[31m", "a\nb", "\u202eabc", "a.b", "\ufffd", "a" * 63]
)
def test_an_instance_of_another_form_is_counted_once(label: str) -> None:
    """However many records it has; the good one beside it is read."""
    name = f"{label}.{TYPE}"
    bad = (
        DNSPointer(TYPE, 12, 1, 4500, name),
        DNSService(name, 33, 1, 120, 0, 0, 7100, "x.local."),
        DNSText(name, 16, 1, 4500, encode_txt(RECORD)),
    )
    assert read(*bad, ptr(), srv(), txt()) == Claims((Claim(ALIAS, RECORD, 120.0, complete=True),), 1)


def test_a_pointer_to_another_type_is_counted() -> None:
    """It stands under our type, so it is somebody's mistake or somebody's try."""
    assert read(DNSPointer(TYPE, 12, 1, 4500, f"{ALIAS}._http._tcp.local.")) == Claims((), 1)


def test_a_txt_without_a_record_is_counted_and_its_instance_stands() -> None:
    """Nothing needs asking again for it, and a TXT after it that can be read is read."""
    bad = txt(text=b"\x05x")
    assert read(ptr(), srv(), bad) == Claims((Claim(ALIAS, None, 120.0, complete=True),), 1)
    assert read(ptr(), srv(), bad, txt()) == Claims((Claim(ALIAS, RECORD, 120.0, complete=True),), 1)
    assert read(txt(ttl=0), bad) == Claims((Claim(ALIAS, RECORD, 4500.0),), 1)


def test_the_limit_counts_instances_and_not_records() -> None:
    """Those within it are read whole, those over it are counted once each, whatever their case."""
    aliases = [f"{ALIAS[:24]}{a}{b}" for a in BASE32 for b in BASE32][:70]
    records: list[DNSRecord] = []
    for kind in (ptr, srv, txt):
        records += [kind(alias) for alias in aliases]
    claims = read(*records)
    assert [claim.alias for claim in claims.claims] == aliases[:64]
    assert all(claim.complete and claim.record == RECORD for claim in claims.claims)
    assert claims.refused == 6
    assert len(read_claims(records, SERVICE, limit=1).claims) == 1


def test_another_service_is_another_world() -> None:
    """What is ours is decided by the option alone."""
    assert read_claims([ptr(), srv(), txt()], "_other._tcp") == Claims((), 0)
    record = DNSPointer("_other._tcp.local.", 12, 1, 9, instance_name(OTHER, "_other._tcp"))
    assert read_claims([record], "_other._tcp") == Claims((Claim(OTHER, None, 9.0),), 0)
