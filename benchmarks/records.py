"""Verified records a second, beside bare Ed25519 verification: ``python -m benchmarks.records``.

Each round times both, in turn, over the same records: decoding and verifying each, as for one that arrives,
and verifying its signature alone with a key object made anew, which is the least that anybody could do. Every
record has a key of its own. Counted is the processor's time, so that what else the machine does counts less.
The ratio is the median of the rounds' ratios; the aim is at most 1.6.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from peernet_core.addresses import Address, parse_ip
from peernet_core.keys import Identity
from peernet_core.records import Record, decode_record, encode_record

AIM: Final = 1.6
_PORT: Final = 7100
# Where in a record the signed payload, with its head, begins and ends, and what stands before it in what is
# signed: the bare verification is given this, as if finding it cost nothing.
_PAYLOAD: Final = slice(7, -66)
_SIGNED_PREFIX: Final = (
    bytes.fromhex("846a") + b"Signature1" + bytes.fromhex("43a1013251") + b"peernet-record-v1"
)


def make_records(count: int, ips: Sequence[str], name: str) -> list[bytes]:
    """Sign `count` records, each by another key."""
    addresses = tuple(Address(parse_ip(ip), _PORT) for ip in ips)
    identities = (Identity.generate() for _ in range(count))
    return [
        encode_record(Record(identity.key, time.time_ns() // 1000, _PORT, addresses, name), identity)
        for identity in identities
    ]


def time_once(function: Callable[[], None]) -> float:
    """The processor's seconds that one call takes."""
    start = time.thread_time()
    function()
    return time.thread_time() - start


def compare(records: Sequence[bytes], rounds: int) -> tuple[float, float, float]:
    """Return microseconds a record, bare and with decoding, and the ratio; medians over the rounds."""
    parts = [
        (decode_record(data).record.key.raw, data[-64:], _SIGNED_PREFIX + data[_PAYLOAD]) for data in records
    ]

    def bare() -> None:
        for raw, signature, signed in parts:
            Ed25519PublicKey.from_public_bytes(raw).verify(signature, signed)

    def decoded() -> None:
        for data in records:
            decode_record(data).verify()

    bare()
    decoded()
    times = [(time_once(bare), time_once(decoded)) for _ in range(rounds)]
    scale = 1e6 / len(records)
    return (
        statistics.median(one for one, _ in times) * scale,
        statistics.median(other for _, other in times) * scale,
        statistics.median(other / one for one, other in times),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=100, help="how often each is timed (100)")
    parser.add_argument("--records", type=int, default=50, help="records in a round (50)")
    arguments = parser.parse_args()
    shapes = {
        "2 addresses, a short name": (("192.168.1.20", "2001:db8::20"), "kitchen-pi"),
        "7 addresses, 24-byte name": (
            (*(f"192.0.2.{n}" for n in range(1, 5)), *(f"2001:db8::{n}" for n in range(1, 4))),
            "n" * 24,
        ),
    }
    print(
        f"median of {arguments.rounds} rounds of {arguments.records} records; ratio aimed at: at most {AIM}"
    )
    for shape, (ips, name) in shapes.items():
        records = make_records(arguments.records, ips, name)
        bare_us, decoded_us, ratio = compare(records, arguments.rounds)
        print(
            f"{shape} ({len(records[0])} bytes): Ed25519 alone {bare_us:.1f} us ({1e6 / bare_us:,.0f}/s), "
            f"decode and verify {decoded_us:.1f} us ({1e6 / decoded_us:,.0f}/s), ratio {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
