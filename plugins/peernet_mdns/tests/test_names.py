"""A service type is refused with a reason; a name is a peer's only in its exact form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peernet_mdns.names import SERVICE, alias_of, check_service, host_name, instance_name, type_name

ALIAS = "abcdefghijklmnopqrstuv2345"
TYPE = "_peernet._tcp.local."
ALIASES = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=26, max_size=26)


@pytest.mark.parametrize(
    "service", [SERVICE, "_a._tcp", "_my-app-2._tcp", "_abcdefghijklmno._tcp", "_2x._tcp"]
)
def test_a_service_of_the_right_form_is_taken(service: str) -> None:
    """Up to fifteen characters, with a letter among them."""
    assert check_service(service) == service


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        ("", "it is empty"),
        ("_peernet._udp", "links between peers are TCP"),
        ("_peernet._tcp.local.", 'leave ".local" out'),
        ("_peernet._tcp.local", 'leave ".local" out'),
        ("_peernet._tcp.", 'it ends in "._tcp"'),
        ("_peernet", 'it ends in "._tcp"'),
        ("peernet._tcp", "it starts with an underscore"),
        ("__peernet._tcp", 'found "_"'),
        ("_Peernet._tcp", 'found "P"'),
        ("_peernet._TCP", 'it ends in "._tcp"'),
        ("_peer net._tcp", 'found " "'),
        ("_x._sub._peernet._tcp", 'found "."'),
        ("_peer\x1bnet._tcp", r'found "\x1b"'),
        ("_peernet._tcp\n", 'it ends in "._tcp"'),
        ("_p\u00e9er._tcp", r'found "\xe9"'),
        ("_._tcp", "1 to 15 characters; this has 0"),
        ("_abcdefghijklmnop._tcp", "1 to 15 characters; this has 16"),
        ("_123._tcp", "a letter in it"),
        ("_-peer._tcp", "a hyphen stands between"),
        ("_peer-._tcp", "a hyphen stands between"),
        ("_peer--net._tcp", "a hyphen stands between"),
    ],
)
def test_a_service_of_another_form_is_refused_with_its_reason(service: str, reason: str) -> None:
    """Who wrote it in a file learns what is wrong with it and what a right one looks like."""
    with pytest.raises(ValueError, match="is no service type") as raised:
        check_service(service)
    message = str(raised.value)
    assert reason in message
    assert message.endswith('an example is "_peernet._tcp"')


@given(st.text() | st.text().map("_{}._tcp".format))
def test_any_text_is_taken_as_it_is_or_refused_on_one_line(service: str) -> None:
    """The message is printable whatever the text was, and short."""
    try:
        taken = check_service(service)
    except ValueError as error:
        message = str(error)
    else:
        assert taken == service
        return
    assert message.isprintable()
    assert len(message) < 900


def test_names_are_those_of_the_wire() -> None:
    """The type, one instance of it, and its host."""
    assert type_name(SERVICE) == TYPE
    assert instance_name(ALIAS, SERVICE) == f"{ALIAS}.{TYPE}"
    assert host_name(ALIAS) == f"{ALIAS}.local."


@given(ALIASES, st.sampled_from([SERVICE, "_my-app-2._tcp"]))
def test_an_alias_is_read_back_in_any_case(alias: str, service: str) -> None:
    """DNS names have no case; an alias is lower case."""
    name = instance_name(alias, service)
    assert [alias_of(each, service) for each in (name, name.upper(), name.title())] == [alias] * 3


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        TYPE,
        f".{TYPE}",
        f"{ALIAS}.local.",
        f"{ALIAS}._http._tcp.local.",
        f"{ALIAS}._peernet._udp.local.",
        f"{ALIAS}._peernet._tcp.local",
        f"{ALIAS}._peernet._tcp.locax.",
        f"{ALIAS[:-1]}.{TYPE}",
        f"{ALIAS}a.{TYPE}",
        f"{ALIAS}.{ALIAS}.{TYPE}",
        f"{ALIAS[:-1]}1.{TYPE}",
        f"{ALIAS[:-1]}0.{TYPE}",
        f"{ALIAS[:-1]}-.{TYPE}",
        f"{ALIAS[:12]}.{ALIAS[13:]}.{TYPE}",
        f"{ALIAS[:12]}\x1b{ALIAS[13:]}.{TYPE}",
        f"{ALIAS[:-1]}\n.{TYPE}",
        f"{ALIAS}.{TYPE}\n",
        f"{ALIAS[:12]}\u202e{ALIAS[13:]}.{TYPE}",
        f"{ALIAS[:12]}\u200f{ALIAS[13:]}.{TYPE}",
        f"{ALIAS[:12]}\ufffd{ALIAS[13:]}.{TYPE}",
        f"{ALIAS[:10]}\u212a{ALIAS[11:]}.{TYPE}",
        f"{'a' * 63}.{TYPE}",
        f"{ALIAS} (2).{TYPE}",
    ],
)
def test_a_name_of_another_form_is_nobodys(name: str) -> None:
    """Also one that only lower-casing makes a right one: U+212A becomes a 'k'."""
    assert alias_of(name, SERVICE) is None


@given(st.text())
def test_any_name_gives_an_alias_of_the_form_or_none(name: str) -> None:
    """Nothing else ever comes out, and nothing is raised."""
    for text in (name, f"{name}.{TYPE}"):
        alias = alias_of(text, SERVICE)
        assert alias is None or text.lower() == instance_name(alias, SERVICE)
