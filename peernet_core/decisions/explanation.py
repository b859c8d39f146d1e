"""Why a peer is, or is not, linked: what `explain` tells.

Pure. Everything in here is a value for the application and for people; what decides stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from peernet_core.addresses import Address, IPAddress
from peernet_core.decisions.candidates import Attempt
from peernet_core.decisions.lookups import LookupPlan
from peernet_core.decisions.pursuit import Activity, Outlook
from peernet_core.decisions.statements import Candidate
from peernet_core.events import BackendStatus, PeerState, UnreachableReason
from peernet_core.keys import PeerKey
from peernet_core.values import frozen

__all__ = ["ExplainedAddress", "Explanation", "explain_peer", "explain_stranger", "explained"]

_RUNNING: Final = "running"
_MINUTE_S: Final = 60.0
_OUTCOMES: Final = {
    None: "connected",
    UnreachableReason.REFUSED: "refused: nobody listens there",
    UnreachableReason.TIMEOUT: "no answer",
    UnreachableReason.WRONG_KEY: "somebody else answered",
    UnreachableReason.THEY_DO_NOT_TRUST_US: "the peer answered, and does not trust us",
    UnreachableReason.PROTOCOL: "what answered does not speak peernet",
}


@frozen
class ExplainedAddress:
    """One address that somebody names for a peer. Spans are in seconds, from the moment of asking.

    Attributes:
        address: Where, and which source says so.
        kind: On whose word: ``signed`` (the peer's own), ``configured``, ``hint`` (anybody's), ``known`` (it
            worked before).
        sequence: Of the record that it stands in or came with; None: it came with none.
        age_s: How long ago it was last reported.
        lease_left_s: How long it is still believed; None: until it is withdrawn.
        outcome: How the last dial there ended, in words; empty: none that is remembered.
        failure: The same for programs; None: it worked, or there was none.
        outcome_age_s: How long ago that was; None: there was none.
        next_dial_s: In how long it is dialed, if no link comes before; 0: it is being dialed or linked; None:
            it is not, see `obstacle`, or only once something changes.
        obstacle: Why it is not dialed; empty: it may be.
    """

    address: Address
    kind: str
    sequence: int | None
    age_s: float
    lease_left_s: float | None
    outcome: str
    failure: UnreachableReason | None
    outcome_age_s: float | None
    next_dial_s: float | None
    obstacle: str


@frozen
class Explanation:
    """All that is known of one key, what is being done about it, and why.

    Attributes:
        key: The key.
        label: What you call the peer; empty: nothing, or it is not trusted.
        state: As in `PeerStatus`; None: the key is not trusted, or our own.
        since_s: How many seconds ago the state last changed.
        next: What is done next and why, in words.
        next_in_s: In how many seconds; None: at no set time.
        asked_age_s: How many seconds ago the backends were last asked for the peer; None: never.
        addresses: Every address that is live, best first.
    """

    key: PeerKey
    label: str
    state: PeerState | None
    since_s: float
    next: str
    next_in_s: float | None
    asked_age_s: float | None
    addresses: tuple[ExplainedAddress, ...]


def explained(
    candidate: Candidate,
    *,
    attempt: Attempt | None,
    obstacle: str,
    outlook: Outlook | None,
    linked_at: tuple[IPAddress, int] | None,
    now: float,
) -> ExplainedAddress:
    """Put together what is known of one address.

    Args:
        candidate: As the ledger has it.
        attempt: How the last dial there ended.
        obstacle: Why it is not dialed; empty: it may be.
        outlook: What is being done about its peer; None: nothing, it is a stranger.
        linked_at: Where the link ends, if there is one.
        now: Loop time.
    """
    barred_until = None if attempt is None else attempt.barred_until
    if barred_until is not None and not obstacle:
        obstacle = f"somebody else answered; it is left alone for {_span(barred_until - now)}"
    return ExplainedAddress(
        address=candidate.address,
        kind=candidate.kind.value,
        sequence=candidate.sequence,
        age_s=now - candidate.seen_at,
        lease_left_s=None if candidate.expires_at is None else max(0.0, candidate.expires_at - now),
        outcome="" if attempt is None else _OUTCOMES[attempt.failure],
        failure=None if attempt is None else attempt.failure,
        outcome_age_s=None if attempt is None else now - attempt.ended_at,
        next_dial_s=_next_dial(
            candidate, barred_until, obstacle=obstacle, outlook=outlook, linked_at=linked_at, now=now
        ),
        obstacle=obstacle,
    )


def explain_peer(
    key: PeerKey,
    *,
    me: PeerKey,
    label: str,
    state: PeerState,
    since: float,
    outlook: Outlook,
    link: Address | None,
    plan: LookupPlan,
    backends: Sequence[BackendStatus],
    addresses: Sequence[ExplainedAddress],
    now: float,
) -> Explanation:
    """Explain a trusted peer.

    Args:
        key: The peer.
        me: Our own key, for what the other end has to do.
        label: What you call it.
        state: What is being done about it.
        since: When that last changed, in loop time.
        outlook: The same more closely.
        link: The far end of its link, if there is one.
        plan: Whether the backends are asked for it.
        backends: How they stand.
        addresses: Best first.
        now: Loop time.
    """
    words = [_what_is_done(outlook, link, since=since, now=now)]
    until = outlook.until
    if outlook.activity is Activity.IDLE:
        words = [_why_nobody_is_dialed(addresses, backends)]
    if outlook.activity in {Activity.IDLE, Activity.RESTING, Activity.DIALING}:
        words += _advice(addresses, me)
        words += _lookup(plan, backends, now=now)
        if outlook.activity is Activity.IDLE:
            until = plan.due
    return Explanation(
        key=key,
        label=label,
        state=state,
        since_s=now - since,
        next="; ".join(words),
        next_in_s=None if until is None else max(0.0, until - now),
        asked_age_s=None if plan.asked_at is None else now - plan.asked_at,
        addresses=tuple(addresses),
    )


def explain_stranger(key: PeerKey, *, me: PeerKey, addresses: Sequence[ExplainedAddress]) -> Explanation:
    """Explain a key that is not trusted; or our own.

    Args:
        key: The key.
        me: Our own.
        addresses: What was heard of it.
    """
    if key == me:
        words = "this is our own key"
    else:
        seen = "it was seen" if addresses else "nobody has seen it"
        words = f"the key is not in the trust list, so it is never dialed ({seen}); peernet trust add {key}"
    return Explanation(key, "", None, 0.0, words, None, None, tuple(addresses))


def _next_dial(
    candidate: Candidate,
    barred_until: float | None,
    *,
    obstacle: str,
    outlook: Outlook | None,
    linked_at: tuple[IPAddress, int] | None,
    now: float,
) -> float | None:
    endpoint = candidate.address.endpoint
    if outlook is None:
        return None
    if endpoint == linked_at or endpoint in outlook.dialing:
        return 0.0
    if barred_until is not None:
        return barred_until - now
    if obstacle or outlook.activity is not Activity.RESTING or outlook.until is None:
        return None
    return max(0.0, outlook.until - now)


def _what_is_done(outlook: Outlook, link: Address | None, *, since: float, now: float) -> str:
    wait = "" if outlook.until is None else _span(outlook.until - now)
    match outlook.activity:
        case Activity.LINKED:
            return f"linked at {link} for {_span(now - since)}; nothing is dialed while the link is up"
        case Activity.DIALING:
            places = len(outlook.dialing)
            return f"dialing {places} address{'es' if places > 1 else ''} now"
        case Activity.DECIDING:
            return f"a connection is open, and the link is being agreed on; at most {wait} more"
        case Activity.HOLDING:
            return f"the peer says that there is a link with us already; waiting {wait} for it"
        case Activity.REFUSING:
            return f"two processes run with this key, so it is refused for {wait}; end one of them"
        case _:
            return f"{outlook.cause}; dialing again in {wait}, or at once when something new is heard"


def _why_nobody_is_dialed(addresses: Sequence[ExplainedAddress], backends: Sequence[BackendStatus]) -> str:
    if addresses:
        return "none of its addresses may be dialed from here; waiting to be dialed by it"
    running = [each.source for each in backends if each.state == _RUNNING]
    others = [each for each in backends if each.state != _RUNNING]
    if not backends:
        words = "no discovery backend is enabled"
    elif running:
        words = f"nobody names an address of it (running: {', '.join(running)})"
    else:
        words = "no discovery backend is running"
    for each in others:
        words += f"; {each.source} is {each.state}{f', {each.error}' if each.error else ''}"
    return words


def _advice(addresses: Sequence[ExplainedAddress], me: PeerKey) -> list[str]:
    if any(each.failure is UnreachableReason.THEY_DO_NOT_TRUST_US for each in addresses):
        return [f"the peer has to trust us, too: peernet trust add {me}"]
    return []


def _lookup(plan: LookupPlan, backends: Sequence[BackendStatus], *, now: float) -> list[str]:
    who = ", ".join(each.source for each in backends if each.resolves)
    if not who:
        return []
    if plan.under_way:
        return [f"being asked for: {who}"]
    if plan.due is None:
        return []
    return [f"asked for in {_span(plan.due - now)}, unless something is heard of it before: {who}"]


def _span(seconds: float) -> str:
    if seconds < _MINUTE_S:
        return f"{max(0.0, seconds):.1f} s"
    return f"{seconds / _MINUTE_S:.0f} min"
