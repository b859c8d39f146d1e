"""How a race went, for a person and for a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import click

from peernet_core.addresses import Address
from peernet_core.cli.json_lines import address_object
from peernet_core.cli.output import show_table
from peernet_core.decisions.race_result import Absence, Claim, PeerResult, RaceResult, SourceResult
from peernet_core.keys import PeerKey

__all__ = ["race_object", "show_race"]


def race_object(result: RaceResult) -> dict[str, object]:
    """The result as an object for a program: all that is known, with its names."""
    return attrs.asdict(result, value_serializer=_plain)


def show_race(result: RaceResult) -> None:
    """Print the result as tables."""
    found = sum(bool(peer.finds) for peer in result.peers)
    click.echo(
        f"raced for {result.for_s:.1f} s: {found} of {_count(len(result.peers), 'trusted peer')} found"
    )
    if result.events_missed:
        click.echo(f"{result.events_missed} events came too fast: what follows may be wrong")
    _show(("source", "backend", "started", "found", "first", "missed", "strangers"), _sources(result))
    _show(("peer", "first", "then", "missed by", "linked"), map(_peer, result.peers))
    _show(("gone", "when", "why", "lost by", "still claimed by"), _absences(result))
    _show(("lost although linked", "when", "by"), _lapses(result))
    _show(("never linked", "claimed by", "address", "last dial"), _refusals(result))


def _show(header: Sequence[str], rows: Iterator[tuple[str, ...]]) -> None:
    cells = list(rows)
    if cells:
        click.echo()
        show_table(header, cells)


def _sources(result: RaceResult) -> Iterator[tuple[str, ...]]:
    for source in result.sources:
        missed = [_name(peer) for peer in result.peers if source.source in peer.missed_by]
        yield (
            source.source,
            source.backend,
            _start(source),
            f"{source.found} of {len(result.peers)}",
            str(source.first),
            ", ".join(missed),
            str(source.strangers),
        )


def _start(source: SourceResult) -> str:
    if source.started_s is None:
        return f"failed: {source.error}" if source.error else "not yet"
    started = _span(source.started_s)
    return f"{started}, failed later: {source.error}" if source.error else started


def _peer(peer: PeerResult) -> tuple[str, ...]:
    linked = (
        "never" if peer.linked_s is None else f"{_span(peer.linked_s)}, {peer.linked_through or 'inbound'}"
    )
    return (
        _name(peer),
        f"{peer.finds[0].source} {_span(peer.finds[0].at_s)}" if peer.finds else "nobody",
        ", ".join(f"{each.source} +{_span(each.behind_s)}" for each in peer.finds[1:]),
        ", ".join(peer.missed_by),
        linked,
    )


def _absences(result: RaceResult) -> Iterator[tuple[str, ...]]:
    for peer in result.peers:
        for absence in peer.absences:
            lost = [each for each in absence.claims if each.lost_after_s is not None]
            stale = [each.source for each in absence.claims if each.lost_after_s is None]
            if absence.is_back and not lost:
                continue  # a link that came back at once
            yield (
                _name(peer),
                f"{_span(absence.at_s)}{_until(absence)}",
                absence.reason,
                ", ".join(map(_loss, lost)),
                f"{', '.join(stale)} ({_span(absence.for_s)})" if stale else "nobody",
            )


def _until(absence: Absence) -> str:
    return f", for {_span(absence.for_s)}" if absence.is_back else ""


def _loss(claim: Claim) -> str:
    after_s = claim.lost_after_s or 0.0
    return f"{claim.source} {'-' if after_s < 0 else '+'}{_span(abs(after_s))}"


def _lapses(result: RaceResult) -> Iterator[tuple[str, ...]]:
    for peer in result.peers:
        for lapse in peer.lapses:
            yield _name(peer), f"{_span(lapse.at_s)}, for {_span(lapse.for_s)}", lapse.source


def _refusals(result: RaceResult) -> Iterator[tuple[str, ...]]:
    for peer in result.peers:
        for refusal in peer.refusals:
            source = refusal.address.source
            yield _name(peer), ", ".join(peer.claimed_by), f"{refusal.address} ({source})", refusal.reason


def _name(peer: PeerResult) -> str:
    return f"{peer.key.short} ({peer.label})" if peer.label else peer.key.short


def _span(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds < 10 else f"{seconds:.1f} s"  # noqa: PLR2004 - three or four digits


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _plain(_: object, _field: object, value: object) -> object:
    match value:
        case Address():
            return {**address_object(value), "source": value.source}
        case PeerKey():
            return str(value)
        case float():
            return round(value, 6)
    return value
