"""What docs/protocol.md prints, and tests/vectors holds, is what the code makes and takes."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from peernet_core.decisions.frames import FrameDecoder, Unknown, encode_frame
from peernet_core.errors import BadSignatureError, MalformedFrameError, MalformedRecordError
from peernet_core.keys import PeerKey
from peernet_core.records import _SIGNED_PREFIX, _UNPRINTABLE, decode_record

VECTORS_FOLDER = Path(__file__).parent / "vectors"
PAGE = (Path(__file__).parents[1] / "docs" / "protocol.md").read_text(encoding="utf-8")


def _load(name: str) -> dict[str, list[dict[str, str]]]:
    vectors: dict[str, list[dict[str, str]]] = json.loads((VECTORS_FOLDER / name).read_text(encoding="ascii"))
    return vectors


KEYS, RECORDS, FRAMES = _load("keys.json"), _load("records.json"), _load("frames.json")
HEX = {vector["name"]: vector["record"] for group in RECORDS.values() for vector in group}
HEX |= {vector["name"]: vector["frame"] for group in FRAMES.values() for vector in group}


def _blocks() -> dict[str, bytes]:
    """The page's named blocks of hexadecimal, without what is noted beside them."""
    found = re.findall(r"^```hex (.+)\n((?:.*\n)*?)```$", PAGE, re.MULTILINE)
    assert len({name for name, _ in found}) == len(found), "two blocks of one name"
    return {name: bytes.fromhex(re.sub(r"#.*", "", body)) for name, body in found}


BLOCKS = _blocks()


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_vectors", VECTORS_FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_vectors_are_those_that_the_generator_makes() -> None:
    """Nobody edits them by hand; ``python tests/vectors/generate.py`` writes them."""
    made = _generator().make_files()
    assert {path.name for path in VECTORS_FOLDER.glob("*.json")} == set(made)
    for name, text in made.items():
        assert (VECTORS_FOLDER / name).read_text(encoding="ascii") == text


def test_no_block_of_hexadecimal_is_without_a_name() -> None:
    """So that none escapes the tests below; and the page shows each kind."""
    assert PAGE.count("```hex ") * 2 == PAGE.count("```")
    kinds = {name.partition("/")[0] for name in BLOCKS}
    assert kinds == {"record", "malformed", "bad signature", "frame", "malformed frame"}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_on_the_page_is_the_vector_of_its_name(name: str) -> None:
    """The page and the files say the same."""
    assert BLOCKS[name].hex() == HEX[name]


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_on_the_page_is_what_it_says(name: str) -> None:
    """Records decode and verify, frames decode and encode to the same, and the others are refused."""
    data, kind = BLOCKS[name], name.partition("/")[0]
    if kind == "record":
        decode_record(data).verify()
    elif kind == "malformed":
        with pytest.raises(MalformedRecordError):
            decode_record(data)
    elif kind == "bad signature":
        signed = decode_record(data)
        with pytest.raises(BadSignatureError):
            signed.verify()
    elif kind == "frame":
        (frame,) = FrameDecoder().feed(data)
        assert isinstance(frame, Unknown) or "unknown" in name or encode_frame(frame) == data
    else:
        with pytest.raises(MalformedFrameError):
            FrameDecoder().feed(data)


def test_every_record_and_frame_that_is_right_is_on_the_page() -> None:
    """But for one record that differs in nothing new to see."""
    right = {vector["name"] for vector in [*RECORDS["valid"], *FRAMES["valid"], *FRAMES["ignored"]]}
    assert right - set(BLOCKS) == {"record/port spelt out"}


def test_every_key_of_the_vectors_is_on_the_page_and_no_other() -> None:
    """Private and public keys, texts and aliases, right and wrong ones."""
    for vector in KEYS["valid"]:
        row = " | ".join(f"`{vector[column]}`" for column in ("private", "public", "text", "alias"))
        assert f"| {row} |" in PAGE
    for vector in KEYS["invalid_public"]:
        assert f"| `{vector['public']}` | {vector['name']} |" in PAGE
    for vector in KEYS["invalid_text"]:
        text = json.dumps(vector["text"])[1:-1]
        assert f"| {vector['name']} | `{text}` |" in PAGE
    known = {vector[column] for vector in KEYS["valid"] for column in ("private", "public")}
    known |= {vector["public"] for vector in KEYS["invalid_public"]}
    known |= {vector["text"] for vector in KEYS["invalid_text"] if len(vector["text"]) == 64}
    assert set(re.findall(r"`([0-9a-f]{64})`", PAGE)) == known


def test_the_bytes_before_the_payload_in_what_is_signed_are_those_on_the_page() -> None:
    """The page spells the head of the Sig_structure out."""
    (spelt,) = re.findall(r"^`(84 6a [0-9a-f ]+)`", PAGE, re.MULTILINE)
    assert bytes.fromhex(spelt) == _SIGNED_PREFIX


def test_the_characters_that_a_name_lacks_are_those_on_the_page() -> None:
    """The page lists them as ranges, the code as a pattern."""
    (listed,) = re.findall(r"here they are: (.*?)\. ", PAGE, re.DOTALL)
    unprintable = set()
    for part in listed.replace("U+", "").replace("\n", " ").split(", "):
        first, _, last = part.strip().partition("\N{EN DASH}")
        unprintable |= set(range(int(first, 16), int(last or first, 16) + 1))
    assert unprintable == {n for n in range(0x110000) if _UNPRINTABLE.search(chr(n))}


@pytest.mark.parametrize("vector", FRAMES["valid"], ids=lambda vector: vector["name"])
def test_vectors_of_frames(vector: dict[str, str]) -> None:
    """Each decodes to the frame of its name, and that encodes to the same bytes."""
    data = bytes.fromhex(vector["frame"])
    (frame,) = FrameDecoder().feed(data)
    assert (
        type(frame).__name__.upper().removesuffix("UPDATE")
        == vector["name"].removeprefix("frame/").partition(" ")[0]
    )
    assert not isinstance(frame, Unknown)
    assert encode_frame(frame) == data


@pytest.mark.parametrize("vector", FRAMES["ignored"], ids=lambda vector: vector["name"])
def test_vectors_of_frames_from_later_versions(vector: dict[str, str]) -> None:
    """What is not known of them is ignored, and ends nothing."""
    assert len(FrameDecoder().feed(bytes.fromhex(vector["frame"]))) == 1


@pytest.mark.parametrize("vector", FRAMES["malformed"], ids=lambda vector: vector["name"])
def test_vectors_of_what_is_no_frame(vector: dict[str, str]) -> None:
    """Each ends the connection."""
    with pytest.raises(MalformedFrameError):
        FrameDecoder().feed(bytes.fromhex(vector["frame"]))


def test_the_keys_in_the_records_are_the_first_of_the_table() -> None:
    """As the page says of all its records."""
    first = PeerKey.parse(KEYS["valid"][0]["text"])
    for vector in RECORDS["valid"]:
        assert decode_record(bytes.fromhex(vector["record"])).record.key == first
