"""The default policy: trusted keys are dialed, others dropped."""

from __future__ import annotations

from peernet_core.addresses import Address
from peernet_core.keys import PeerKey
from peernet_core.policy import Decision, Policy, TrustedOnly

KEY = PeerKey(bytes([3]) * 32)
ADDRESS = Address.parse("10.0.0.5:7100", source="lan")


def test_trusted_keys_are_dialed() -> None:
    """Whatever address it is: which ones may be dialed is not the policy's to say."""
    assert TrustedOnly().decide(KEY, ADDRESS, trusted=True) is Decision.DIAL


def test_strangers_are_dropped() -> None:
    """A key that is not in the trust list is never dialed."""
    assert TrustedOnly().decide(KEY, ADDRESS, trusted=False) is Decision.DROP


def test_an_application_brings_its_own() -> None:
    """Any object with the one method will do, as the type checker confirms here."""

    class ListenOnly:
        def decide(self, key: PeerKey, address: Address, *, trusted: bool) -> Decision:
            return Decision.KEEP if trusted and address.port and key.raw else Decision.DROP

    policy: Policy = ListenOnly()
    assert policy.decide(KEY, ADDRESS, trusted=True) is Decision.KEEP
