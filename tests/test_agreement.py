"""The link agreement, explored: every interleaving of the code that runs.

A world is two ends, each with an `Agreement`, and the connections between them. Every step that could happen
next is tried from every world that can be reached: a race's candidate authenticates, a frame arrives, a close
is noticed, a connection is cut (losing any part of what was under way), a timer fires.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import pytest

from peernet_core.decisions.agreement import (
    HOLD_S,
    MAX_WAITING,
    PROBE_S,
    RETIRE_S,
    SUSPICION_S,
    VERDICT_S,
    Agreement,
    Close,
    Linked,
    SendNo,
    SendPing,
    SendUp,
    Unlinked,
)

SMALL, LARGE = 0, 1
BOOT_IDS = (b"small's boot", b"large's boot")
CLOSED = "closed"
Frames = tuple[str, ...]


class End(NamedTuple):
    """All of an `Agreement` that may differ between worlds, and what its dialer still has to try."""

    link: int | None = None
    link_boot_id: bytes | None = None
    waiting: tuple[tuple[int, bytes], ...] = ()
    verdicts: tuple[tuple[int, float], ...] = ()
    probe: float | None = None
    held: float | None = None
    candidates: int = 0  # of the race under way, not yet authenticated
    races: int = 0  # dials that may still be begun
    links_lost: int = 0
    ups_sent: int = 0
    followed: tuple[bytes, int] | None = None
    retired: tuple[tuple[int, float], ...] = ()


class World(NamedTuple):
    """Two ends and, for each connection, what is on its way to each."""

    ends: tuple[End, End]
    wires: tuple[tuple[int, tuple[Frames, Frames]], ...] = ()
    next_connection: int = 1
    cuts: int = 0


class Step:
    """One step from one world, on thawed copies."""

    def __init__(self, world: World) -> None:
        self.agreements = [_thaw(side, end) for side, end in enumerate(world.ends)]
        self.ends = list(world.ends)
        self.wires = {connection: [list(frames) for frames in wire] for connection, wire in world.wires}
        self.next_connection = world.next_connection
        self.cuts = world.cuts

    def freeze(self) -> World:
        ends = [_freeze(agreement, end) for end, agreement in zip(self.ends, self.agreements, strict=True)]
        for side, end in enumerate(ends):
            if end.candidates and end.link is not None:
                ends[side] = end._replace(candidates=0)  # dials not yet at OPEN are cancelled at UP
        live = sorted(c for c, wire in self.wires.items() if wire != [["gone"], ["gone"]])
        names = {connection: name for name, connection in enumerate(live, start=1)}
        wires = tuple((names[c], (tuple(self.wires[c][0]), tuple(self.wires[c][1]))) for c in live)
        renamed = tuple(_rename(end, names) for end in ends)
        return World((renamed[0], renamed[1]), wires, len(live) + 1, self.cuts)

    def apply(self, side: int, effects: list[object]) -> None:
        for effect in effects:
            match effect:
                case SendUp(connection, number):
                    self.send(side, connection, f"up {number}")
                case SendNo(connection):
                    self.send(side, connection, "no")
                case SendPing(connection):
                    self.send(side, connection, "ping")
                case Close(connection):
                    self.send(side, connection, CLOSED)
                    self.wires[connection][side].clear()  # what was coming here is read by nobody
                    self.wires[connection][side].append("gone")
                case Unlinked():
                    self.ends[side] = self.ends[side]._replace(links_lost=self.ends[side].links_lost + 1)
                case Linked():
                    pass

    def send(self, side: int, connection: int, frame: str) -> None:
        wire = self.wires[connection]
        if "gone" in wire[1 - side] or CLOSED in wire[1 - side]:
            return
        wire[1 - side].append(frame)

    def authenticate(self, side: int) -> None:
        """The race of this side is won by one candidate: open it if it is wanted; the others are closed."""
        agreement, peer = self.agreements[side], BOOT_IDS[1 - side]
        self.ends[side] = self.ends[side]._replace(candidates=0)
        if not agreement.wants_open(peer):
            return
        connection = self.next_connection
        self.next_connection += 1
        self.wires[connection] = [[], []]
        self.send(side, connection, "open")
        self.apply(side, list(agreement.opened(connection, peer, now=0.0)))

    def receive(self, side: int, connection: int) -> None:
        agreement, frame = self.agreements[side], self.wires[connection][side].pop(0)
        verdict, _, number = frame.partition(" ")
        match verdict:
            case "open":
                effects = agreement.opened(connection, BOOT_IDS[1 - side], now=0.0)
            case "up":
                effects = agreement.up_received(connection, int(number))
            case "no":
                effects = agreement.no_received(connection, now=0.0)
            case "ping":
                self.send(side, connection, "pong")
                return
            case "pong":
                effects = agreement.pong_received(connection)
            case _:
                self.send(side, connection, CLOSED)
                self.wires[connection][side] = ["gone"]
                effects = agreement.closed(connection, "cut")
        self.apply(side, list(effects))


def _thaw(side: int, end: End) -> Agreement:
    agreement = Agreement(decides=side == SMALL)
    agreement.link, agreement.link_boot_id = end.link, end.link_boot_id
    agreement._waiting, agreement._verdict_due = dict(end.waiting), dict(end.verdicts)
    agreement._probe_due, agreement._held_until = end.probe, end.held
    agreement._ups_sent, agreement._followed = end.ups_sent, end.followed
    agreement._retired = dict(end.retired)
    return agreement


def _rename(end: End, names: dict[int, int]) -> End:
    """The same end with its connections numbered anew, so that equal worlds are equal."""
    return end._replace(
        link=None if end.link is None else names[end.link],
        waiting=tuple((names[c], boot_id) for c, boot_id in end.waiting),
        verdicts=tuple((names[c], due) for c, due in end.verdicts),
        retired=tuple((names[c], due) for c, due in end.retired),
        links_lost=min(end.links_lost, 3),
    )


def _freeze(agreement: Agreement, end: End) -> End:
    return end._replace(
        link=agreement.link,
        link_boot_id=agreement.link_boot_id,
        waiting=tuple(agreement._waiting.items()),
        verdicts=tuple(agreement._verdict_due.items()),
        probe=agreement._probe_due,
        held=agreement._held_until,
        ups_sent=agreement._ups_sent,
        followed=agreement._followed,
        retired=tuple(agreement._retired.items()),
    )


def _moves(world: World, *, hasty_timers: bool) -> Iterator[World]:
    """Every world that can come next."""
    moves = [*_dials(world), *_arrivals(world)]
    yield from moves
    yield from _cuts(world)
    if hasty_timers or not moves:
        yield from _timers(world)


def _dials(world: World) -> Iterator[World]:
    for side in (SMALL, LARGE):
        end = world.ends[side]
        if end.candidates:
            step = Step(world)
            step.authenticate(side)
            yield step.freeze()
            if end.candidates > 1:  # or one of them fails
                step = Step(world)
                step.ends[side] = end._replace(candidates=end.candidates - 1)
                yield step.freeze()
        elif end.races and _thaw(side, end).may_dial():
            step = Step(world)
            step.ends[side] = end._replace(races=end.races - 1, candidates=2)
            yield step.freeze()


def _arrivals(world: World) -> Iterator[World]:
    for connection, wire in world.wires:
        for side in (SMALL, LARGE):
            if wire[side] and wire[side][0] != "gone":
                step = Step(world)
                step.receive(side, connection)
                yield step.freeze()


def _cuts(world: World) -> Iterator[World]:
    """Cut any connection, losing any tail of what is under way in either direction."""
    for connection, wire in world.wires if world.cuts else ():
        if "gone" in wire[0] + wire[1]:
            continue
        for kept, kept_back in product(range(len(wire[0]) + 1), range(len(wire[1]) + 1)):
            step = Step(world)
            step.cuts -= 1
            step.wires[connection] = [[*wire[0][:kept], CLOSED], [*wire[1][:kept_back], CLOSED]]
            yield step.freeze()


def _timers(world: World) -> Iterator[World]:
    for side in (SMALL, LARGE):
        due = _thaw(side, world.ends[side]).next_deadline()
        if due is not None:
            step = Step(world)
            step.apply(side, list(step.agreements[side].handle_timer(now=due)))
            yield step.freeze()


def explore(*, races: int, cuts: int = 0, hasty_timers: bool = False) -> tuple[int, list[World]]:
    """Visit every world; return their number and those where nothing more can happen."""
    start = World((End(candidates=2, races=races), End(candidates=2, races=races)), cuts=cuts)
    seen, queue, final = {start}, deque([start]), []
    while queue:
        world = queue.popleft()
        ended = True
        for following in _moves(world, hasty_timers=hasty_timers):
            ended = False
            if following not in seen:
                seen.add(following)
                queue.append(following)
        if ended:
            final.append(world)
    return len(seen), final


def _linked_once(world: World) -> bool:
    small, large = world.ends
    return (
        small.link is not None
        and small.link == large.link
        and not small.waiting
        and not large.waiting
        and not any("gone" in wire[0] + wire[1] for c, wire in world.wires if c == small.link)
    )


def test_two_ends_that_dial_at_once_agree_on_one_link() -> None:
    """Without faults each interleaving ends with one link, the same on both sides, and none ever closed."""
    seen, final = explore(races=0)
    assert seen > 20
    assert final
    for world in final:
        assert _linked_once(world), world
        assert [end.links_lost for end in world.ends] == [0, 0], world


def test_a_cut_at_any_moment_ends_with_one_link() -> None:
    """Whatever a cut loses, and whoever notices first, they dial again and agree on one link."""
    seen, final = explore(races=3, cuts=1)
    assert seen > 700
    assert final
    for world in final:
        assert _linked_once(world), world
        # Not two: an UP still under way on the connection that was cut may arrive after the next one's.
        assert all(end.links_lost <= 1 for end in world.ends), world


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_late_answers_and_a_cut_end_with_one_link() -> None:
    """The same when timers fire at any moment: a slow peer is probed in vain, verdicts come too late."""
    _, final = explore(races=1, cuts=1, hasty_timers=True)
    for world in final:
        exhausted = any(end.races == 0 for end in world.ends)
        assert _linked_once(world) or exhausted, world
        assert world.ends[SMALL].link == world.ends[LARGE].link, world


def test_the_exploration_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a wrong rule, 'the newest wins', it finds interleavings that lose the link."""

    def newest_wins(self: Agreement, connection: int, boot_id: bytes, *, now: float) -> list[object]:
        _ = now
        effects: list[object] = [] if self.link is None else [Close(self.link, "newer"), Unlinked("newer")]
        self.link, self.link_boot_id = connection, boot_id
        return [*effects, Linked(connection)]

    monkeypatch.setattr(Agreement, "opened", newest_wins)
    _, final = explore(races=0)
    assert not all(_linked_once(world) for world in final)


class TestOneEnd:
    """Single transitions that the exploration does not tell apart."""

    def test_a_restarted_peer_takes_over_without_a_probe(self) -> None:
        """Another boot id proves that the old link is dead."""
        agreement = Agreement(decides=True)
        agreement.opened(1, b"first", now=0.0)
        assert agreement.opened(2, b"second", now=1.0) == [
            SendUp(2, 2),
            Close(1, "another connection became the link"),
            Unlinked("restarted"),
            Linked(2),
        ]

    def test_a_silent_incumbent_is_replaced_after_a_second(self) -> None:
        """Make before break: the newcomer gets UP, and the incumbent is closed by the end that follows.

        It may still hear more on the incumbent than on the newcomer. Ten seconds later it is closed anyhow.
        """
        agreement = Agreement(decides=True)
        agreement.opened(1, b"boot", now=0.0)
        assert agreement.opened(2, b"boot", now=10.0) == [SendPing(1)]
        assert agreement.next_deadline() == 10.0 + PROBE_S
        assert agreement.handle_timer(now=10.0 + PROBE_S) == [
            SendUp(2, 2),
            Linked(2, moved=True),
        ]
        assert agreement.next_deadline() == 11.0 + RETIRE_S
        assert agreement.handle_timer(now=11.0 + RETIRE_S) == [
            Close(1, "another connection became the link"),
        ]
        assert agreement.link == 2

    def test_an_incumbent_that_the_other_end_closes_is_gone(self) -> None:
        """Which is how it knows that it was followed; nothing is lost by it."""
        agreement = Agreement(decides=True)
        agreement.opened(1, b"boot", now=0.0)
        agreement.opened(2, b"boot", now=10.0)
        agreement.handle_timer(now=11.0)
        assert agreement.closed(1, "closed") == []
        assert agreement.next_deadline() is None

    def test_the_end_closes_what_was_retired_too(self) -> None:
        """When trust ends, or the node stops."""
        agreement = Agreement(decides=True)
        agreement.opened(1, b"boot", now=0.0)
        agreement.opened(2, b"boot", now=10.0)
        agreement.handle_timer(now=11.0)
        assert agreement.reset("untrusted") == [
            Close(2, "untrusted"),
            Close(1, "untrusted"),
            Unlinked("untrusted"),
        ]

    def test_a_living_incumbent_stays(self) -> None:
        """A PONG in time turns the newcomer away."""
        agreement = Agreement(decides=True)
        agreement.opened(1, b"boot", now=0.0)
        agreement.opened(2, b"boot", now=10.0)
        assert agreement.pong_received(1) == [SendNo(2), Close(2, "the link stays")]
        assert agreement.link == 1
        assert agreement.next_deadline() is None

    def test_after_no_without_a_link_it_waits_for_the_up(self) -> None:
        """It does not dial for five seconds, then may again."""
        agreement = Agreement(decides=False)
        agreement.opened(1, b"boot", now=0.0)
        agreement.no_received(1, now=1.0)
        assert not agreement.may_dial()
        assert agreement.next_deadline() == 1.0 + HOLD_S
        agreement.handle_timer(now=1.0 + HOLD_S)
        assert agreement.may_dial()

    def test_a_verdict_that_never_comes_frees_the_dialer(self) -> None:
        """A connection without a verdict is closed, and dialing is possible again."""
        agreement = Agreement(decides=False)
        agreement.opened(1, b"boot", now=0.0)
        assert not agreement.may_dial()
        assert agreement.handle_timer(now=VERDICT_S) == [Close(1, "no verdict in time")]
        assert agreement.may_dial()

    @pytest.mark.parametrize("decides", [True, False])
    def test_a_peer_that_opens_without_end_is_stopped(self, decides: bool) -> None:
        """A few may wait for the verdict; the next is closed, and the link stays."""
        agreement = Agreement(decides=decides)
        for connection in range(MAX_WAITING + decides):
            assert not any(isinstance(e, Close) for e in agreement.opened(connection, b"boot", now=0.0))
        assert agreement.opened(99, b"boot", now=0.0) == [
            Close(99, "too many connections wait for a verdict")
        ]

    @pytest.mark.parametrize("decides", [True, False])
    def test_suspicion_closes_a_link_that_does_not_answer(self, decides: bool) -> None:
        """A suspected link is pinged once and unlinked when no PONG comes."""
        agreement = Agreement(decides=decides)
        agreement.opened(1, b"boot", now=0.0)
        if not decides:
            agreement.up_received(1)
        assert agreement.suspect(now=20.0) == [SendPing(1)]
        assert agreement.suspect(now=20.1) == []
        assert agreement.handle_timer(now=20.0 + SUSPICION_S) == [
            Close(1, "no answer to a ping"),
            Unlinked("no answer to a ping"),
        ]
        assert agreement.may_dial()

    def test_a_verdict_that_was_overtaken_is_not_followed(self) -> None:
        """An UP that was sent before the one that we followed came over a slower connection."""
        agreement = Agreement(decides=False)
        agreement.opened(1, b"boot", now=0.0)
        agreement.opened(2, b"boot", now=0.0)
        assert agreement.up_received(2, 7) == [Linked(2)]
        assert agreement.up_received(1, 6) == [Close(1, "an older verdict")]
        assert agreement.link == 2

    def test_a_restarted_peer_counts_anew(self) -> None:
        """Its numbers have nothing to do with those of its life before."""
        agreement = Agreement(decides=False)
        agreement.opened(1, b"boot", now=0.0)
        agreement.up_received(1, 7)
        agreement.opened(2, b"next", now=0.0)
        agreement.up_received(2, 1)
        assert agreement.link == 2

    @pytest.mark.parametrize("decides", [True, False])
    def test_a_verdict_out_of_turn_closes_that_connection_only(self, decides: bool) -> None:
        """UP or NO from the wrong end, or for a connection that was not opened, is a violation."""
        agreement = Agreement(decides=decides)
        agreement.opened(1, b"boot", now=0.0)
        if not decides:
            agreement.up_received(1)
        assert agreement.up_received(7) == [Close(7, "UP out of turn")]
        assert agreement.no_received(7, now=0.0) == [Close(7, "NO out of turn")]
        assert agreement.link == 1
