"""The browser: everything that is decided about one service. Pure.

What is promised, with a lease L (that of the claim, 1 to 120 s) and one place for each: the caller calls
`take_query` until None whenever `next_deadline` has come, and sends what it gets.

- A crashed peer is `Gone` at most L + 1.5 s after it was last heard (four questions unanswered); later only
  where questions wait for their turn, which takes more than 1,000 names a second.
- After a goodbye or a want, a peer that does not answer is `Gone` after 1.0 s. A goodbye alone is never
  believed.
- A peer that answers within 0.4 s is never `Gone`. When its questions had to wait until the end of what was
  reported, its lease is extended, and that is reported.
- Sent are, each second, at most 20 queries that verify, 20 that refresh, 4 that complete (64 names each), a
  few that ask everybody, and those that somebody wanted (40 names each).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

import attrs

from peernet_mdns.answers import Claim
from peernet_mdns.peer_table import (
    GRACE_S,
    MAX_ORIGINS,
    Entry,
    Gone,
    Origin,
    PeerTable,
    Seen,
    Standing,
    Statement,
)
from peernet_mdns.questions import (
    COMPLETE,
    DOUBT,
    MAX_URGENT,
    REFRESH,
    REST,
    WANTED,
    Lanes,
    Plan,
    Query,
    TypeSchedule,
)
from peernet_mdns.quotas import Level
from peernet_mdns.timers import Timers
from peernet_mdns.wants import VERIFIED_STEPS, Wants

__all__ = ["Browser", "Counts", "Gone", "Origin", "Query", "Seen"]

MIN_LEASE_S: Final = 1.0
MAX_LEASE_S: Final = 120.0
CROWD: Final = 500
"""Peers from which on known answers would fill too many packets."""

_PTR_TTL_S: Final = 4500.0
_EXTENSION_S: Final = 30.0
_MARGIN_S: Final = GRACE_S - 1.0
"""When, after a lease, it is extended if not all was asked: before what was reported ends."""
_LAST_STEPS: Final = 2
"""The steps of a refresh that come before the lease ends."""
_ROUND_GAP_S: Final = 2.0
"""How often a goodbye of one alias starts a round of questions."""
_WANT_GAP_S: Final = 1.0
_JUST_ASKED_S: Final = 0.05
_ANSWER_S: Final = 2.0
"""How long after a question a claim is taken for its answer."""


@attrs.define(eq=False)
class Counts:
    """What happened, for people who look for a fault."""

    own: int = 0
    goodbyes_ignored: int = 0
    refused: int = 0
    extended: int = 0
    incomplete: int = 0
    wants_refused: int = 0


def never(_alias: str) -> bool:
    """No alias is our own."""
    return False


class Browser:
    """Who is there, and whom to ask."""

    def __init__(
        self,
        *,
        now: float,
        jitter: Random,
        own: Callable[[str], bool] = never,
        capacity: int = 12_288,
        quota: int = 256,
    ) -> None:
        """Start with nobody, and nothing to ask.

        Args:
            now: Loop seconds, as everywhere.
            jitter: Spreads questions of many nodes that started together.
            own: Whether an alias is one of our own nodes; what is said of it is ignored.
            capacity: How many aliases are remembered.
            quota: How many of them one address may have brought.
        """
        self.counts = Counts()
        self._now = now
        self._jitter = jitter
        self._own = own
        self._table = PeerTable(capacity=capacity, quota=quota)
        self._lanes = Lanes()
        self._wants = Wants()
        self._everybody = TypeSchedule(jitter)
        self._ends = Timers()

    @property
    def evicted(self) -> int:
        """How many aliases made room, or found none."""
        return self._table.evicted

    def __len__(self) -> int:
        """How many aliases are remembered."""
        return len(self._table)

    def heard(self, claim: Claim, origin: Origin, *, now: float) -> None:
        """Take in what a response said of one alias."""
        if self._own(claim.alias):
            self.counts.own += 1
            return
        entry = self._table.get(claim.alias)
        if claim.goodbye:
            self._goodbye(entry, claim, origin, now=now)
        elif entry is None:
            self._newcomer(claim, origin, now=now)
        else:
            self._claimed(entry, claim, origin, now=now)

    def pending(self) -> bool:
        """Whether `take_changes` has something."""
        return self._table.pending()

    def take_changes(self, limit: int) -> list[Seen | Gone]:
        """Hand out at most `limit` changes, oldest first. What was handed out counts until it is refused."""
        return self._table.take_changes(limit)

    def refused(self, alias: str) -> None:
        """Take back the last `Seen`: its record was none, or was not of that alias.

        What was accepted before stands again. The same bytes are not reported again for a while.
        """
        entry = self._table.get(alias)
        if entry is None or entry.statement is None or entry.statement.standing is not Standing.HANDED:
            return
        self.counts.refused += 1
        statement = entry.statement
        entry.refused = statement.record
        entry.statement, entry.before = entry.before, None
        self._table.unreport(entry)
        self._wants.refused(alias)
        if entry.statement is not None:
            if entry.plan is REFRESH:
                self._begin(entry, REFRESH, entry.statement.since)
            self._watch(entry)
            return
        self._table.reported.pop(alias, None)
        # If another claim was overtaken by the bad one, ask again for it.
        self._begin(entry, COMPLETE if entry.overwritten else REST, statement.since)
        entry.overwritten = False

    def want(self, alias: str, *, now: float) -> None:
        """Ask for this one on the fast schedule; if it is there, find out whether it still is."""
        if self._own(alias):
            return
        entry = self._table.get(alias)
        statement = None if entry is None else entry.statement
        if entry is not None and statement is not None and self._is_verified(entry, now=now):
            if alias in self._wants:
                self._wants.add(alias, now=now)
            return
        if not self._wants.add(alias, skip=0 if statement is None else VERIFIED_STEPS, now=now):
            self.counts.wants_refused += 1
            return
        if entry is None:
            return
        self._table.protect(entry, Level.WANTED)
        if statement is None:
            return
        if statement.standing is Standing.CLAIMED and entry.before is None:
            self._wants.met(alias, now=now)  # it was heard just now, and is about to be handed out
        elif now < statement.ends or entry.step < _LAST_STEPS:
            self._begin(entry, WANTED, now)

    def search(self, *, now: float, delay_s: float = 0.0) -> None:
        """Ask everybody, on the schedule of a start; also after a change of network, and on waking up."""
        self._everybody.search(now=now, delay_s=delay_s)

    def overheard(self, known: frozenset[str], *, now: float) -> None:
        """Take note that somebody asked everybody by multicast, and whom it left out since it knows them.

        It counts for our own question if we would have left out these as well: then no answer that we lack
        was held back.
        """
        if all(alias in self._table.reported or self._own(alias) for alias in known):
            self._everybody.overheard(now=now, crowded=self._is_crowded())

    def next_deadline(self) -> float | None:
        """When `take_query` has something to do; None: not before something is heard or asked for."""
        found = (
            self._everybody.next_deadline(),
            self._wants.next_deadline(),
            self._lanes.next_deadline(),
            self._ends.next(),
        )
        return min((each for each in found if each is not None), default=None)

    def take_query(self, *, now: float) -> Query | None:
        """Act on what expired, and hand out one query that is due; call it until None."""
        while (alias := self._ends.pop(until=now)) is not None:
            self._end(alias, now=now)
        return self._ask_everybody(now=now) or self._ask_urgent(now=now) or self._ask(now=now)

    @staticmethod
    def _is_verified(entry: Entry, *, now: float) -> bool:
        """Whether a round of questions is under way, or was answered just now."""
        return now < entry.doubted + _WANT_GAP_S or entry.plan is WANTED

    def _newcomer(self, claim: Claim, origin: Origin, *, now: float) -> None:
        alias = claim.alias
        wanted = alias in self._wants
        entry, evicted = self._table.add(alias, origin.ip, Level.WANTED if wanted else Level.PLAIN)
        self._forget(evicted)
        if entry is None:
            return
        if claim.record is None:
            self._begin(entry, COMPLETE, now)
        else:
            self._adopt(entry, claim.record, origin, _lease_s(claim), now=now)
            self._begin(entry, REFRESH, now)

    def _claimed(self, entry: Entry, claim: Claim, origin: Origin, *, now: float) -> None:
        statement, record = entry.statement, claim.record
        if record is not None and record == entry.refused:
            self.counts.refused += 1
            return
        if entry.level is Level.PLAIN and now - entry.sent <= _ANSWER_S and record is not None:
            self._table.protect(entry, Level.ANSWERED)
        if statement is None:
            if record is not None:
                self._adopt(entry, record, origin, _lease_s(claim), now=now)
                self._begin(entry, REFRESH, now)
            return
        before = entry.before
        if before is not None and statement.standing is Standing.CLAIMED and record == before.record:
            # What is accepted is confirmed, and what was new in between was not handed out yet.
            self._table.unreport(entry)
            entry.statement, entry.before, statement = before, None, before
        if record is None or record == statement.record:
            self._renew(entry, statement, origin, _lease_s(claim), now=now)
        else:
            self._adopt(entry, record, origin, _lease_s(claim), now=now)
            self._begin(entry, REFRESH, now)

    def _adopt(self, entry: Entry, record: bytes, origin: Origin, lease_s: float, *, now: float) -> None:
        """Take a new record for the alias's, until somebody refuses it."""
        old = entry.statement
        if old is not None:
            if old.standing is Standing.CLAIMED:
                entry.overwritten = True
            else:
                old.standing = Standing.ACCEPTED
                entry.before = old
        entry.statement = Statement(record, now, lease_s, ((origin, now),))
        if old is None:
            # Only where nothing stood: a forger may not take another's alias into his own quota.
            self._forget(self._table.charge(entry, origin.ip))
        self._table.report(entry, origin, lease_s)
        self._wants.met(entry.alias, now=now)

    def _renew(
        self, entry: Entry, statement: Statement, origin: Origin, lease_s: float, *, now: float
    ) -> None:
        if statement.standing is Standing.HANDED:
            statement.standing = Standing.ACCEPTED
            entry.before = None
            entry.overwritten = False
        if statement.standing is Standing.ACCEPTED:
            if entry.alias in self._wants:
                self._unwant(entry.alias)
        else:
            self._wants.met(entry.alias, now=now)
        longer = now + lease_s > statement.ends
        asked = entry.plan is REFRESH and entry.step > 0
        if (longer and asked) or _is_news(statement, origin, longer=longer, now=now):
            others = [each for each in statement.heard if each[0] != origin]
            others.sort(key=_reported_at)
            statement.heard = (*others[-(MAX_ORIGINS - 1) :], (origin, now))
            self._table.report(entry, origin, lease_s)
            if longer:
                statement.since, statement.lease_s = now, lease_s
                self._begin(entry, REFRESH, now)
                return
        if entry.plan is not REFRESH:
            self._begin(entry, REFRESH, statement.since)

    def _goodbye(self, entry: Entry | None, claim: Claim, origin: Origin, *, now: float) -> None:
        statement = None if entry is None else entry.statement
        if entry is None or statement is None:
            self.counts.goodbyes_ignored += 1
            return
        known = {statement.record, entry.refused, None if entry.before is None else entry.before.record}
        if claim.record is not None and claim.record not in known:
            # Most likely the signed word that it stopped; whoever verifies it will know.
            self._adopt(entry, claim.record, origin, statement.lease_s, now=now)
        start = max(now, entry.doubted + _ROUND_GAP_S)
        if entry.plan is REFRESH and start < statement.ends:  # else its last questions are sooner
            self._begin(entry, DOUBT, start)

    def _begin(self, entry: Entry, plan: Plan, start: float) -> None:
        self._cancel(entry)
        entry.plan, entry.step, entry.start = plan, 0, start
        self._watch(entry)
        self._schedule(entry)

    def _cancel(self, entry: Entry) -> None:
        if entry.step < len(entry.plan.steps):
            self._lanes.discard(entry.plan.steps[entry.step].lane, entry.alias)

    def _watch(self, entry: Entry) -> None:
        """Look at the entry again before what was reported of it ends."""
        if entry.statement is not None:
            self._ends.set(entry.alias, entry.statement.ends + _MARGIN_S)
        else:
            self._ends.discard(entry.alias)

    def _schedule(self, entry: Entry) -> None:
        plan = entry.plan
        lease_s = 0.0 if entry.statement is None else entry.statement.lease_s
        if entry.step < len(plan.steps):
            step = plan.steps[entry.step]
            due = step.due(entry.start, lease_s, entry.sent, self._jitter)
            self._lanes.set(step.lane, entry.alias, due)
        else:
            self._ends.set(entry.alias, plan.fails(entry.start, lease_s, entry.sent))

    def _asked(self, alias: str, *, now: float) -> None:
        entry = self._table.get(alias)
        assert entry is not None
        if entry.step == 0 and (entry.plan is DOUBT or entry.plan is WANTED):
            entry.doubted = now
        entry.step += 1
        entry.sent = now
        self._schedule(entry)

    def _end(self, alias: str, *, now: float) -> None:
        """A plan has failed, or what was reported is about to end before everything was asked."""
        entry = self._table.get(alias)
        assert entry is not None
        statement = entry.statement
        if entry.step >= len(entry.plan.steps):
            if statement is None and entry.plan is COMPLETE:
                self.counts.incomplete += 1
            self._table.lose(entry)
            return
        assert statement is not None
        self.counts.extended += 1
        for origin, _ in statement.heard:
            self._table.report(entry, origin, _EXTENSION_S)
        self._ends.set(alias, now + _EXTENSION_S + _MARGIN_S)

    def _forget(self, evicted: list[Entry]) -> None:
        for entry in evicted:
            self._cancel(entry)
            self._ends.discard(entry.alias)

    def _unwant(self, alias: str) -> None:
        self._wants.remove(alias)
        entry = self._table.get(alias)
        if entry is not None:
            self._table.protect(entry, Level.PLAIN if entry.statement is None else Level.ANSWERED)

    def _ask_everybody(self, *, now: float) -> Query | None:
        crowded = self._is_crowded()
        unicast = self._everybody.take(now=now, crowded=crowded)
        if unicast is None:
            return None
        return Query(everybody=True, unicast=unicast, known=() if crowded else self._known(now=now))

    def _is_crowded(self) -> bool:
        return len(self._table.reported) > CROWD

    def _known(self, *, now: float) -> tuple[tuple[str, float], ...]:
        known: list[tuple[str, float]] = []
        for alias in self._table.reported:
            entry = self._table.get(alias)
            statement = None if entry is None else entry.statement
            if statement is not None and (age_s := now - statement.since) < statement.lease_s / 2:
                known.append((alias, _PTR_TTL_S - age_s))
        return tuple(known)

    def _ask_urgent(self, *, now: float) -> Query | None:
        names = self._lanes.take_urgent(MAX_URGENT, now=now)
        for alias in names:
            self._asked(alias, now=now)
        while len(names) < MAX_URGENT and (due := self._wants.take(now=now)) is not None:
            alias, step = due
            just_asked = step == 0 and now - self._everybody.last <= _JUST_ASKED_S
            if step is None:
                self._unwant(alias)
            elif not just_asked and alias not in names:
                names.append(alias)
        return Query(names=tuple(names), unicast=True) if names else None

    def _ask(self, *, now: float) -> Query | None:
        taken = self._lanes.take(now=now)
        if taken is None:
            return None
        names, unicast = taken
        for alias in names:
            self._asked(alias, now=now)
        return Query(names=tuple(names), unicast=unicast)


def _lease_s(claim: Claim) -> float:
    return min(max(claim.ttl_s, MIN_LEASE_S), MAX_LEASE_S)


def _reported_at(heard: tuple[Origin, float]) -> float:
    return heard[1]


def _is_news(statement: Statement, origin: Origin, *, longer: bool, now: float) -> bool:
    """Whether the same record again is worth reporting."""
    half_s = statement.lease_s / 2
    for known, reported_at in statement.heard:
        if known is origin or known == origin:
            return longer and now - reported_at >= half_s
    return len(statement.heard) < MAX_ORIGINS or any(now - at >= half_s for _, at in statement.heard)
