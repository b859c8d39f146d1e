"""A backend that plays a recording back: what a backend once reported is reported again, at the same times.

A recording is made with ``peernet run --record FILE``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import anyio.to_thread
import attrs

from peernet_core.backends.recording import MAX_LINE_BYTES, Entry, Header, Recording, parse_recording
from peernet_core.backends.reports import AddressReport, LossReport, RecordReport
from peernet_core.configuration.wording import join_words, quote
from peernet_core.contract import Context, DiscoverySpec, Sighting, hookimpl
from peernet_core.errors import ConfigurationError, MalformedError, MalformedRecordError
from peernet_core.keys import PeerKey
from peernet_core.records import decode_record

__all__ = ["ReplayDiscovery", "read_recording"]

_REMEDY: Final = "say which with recorded_source"


def read_recording(path: Path) -> Recording:
    """Read a recording from a file.

    Raises:
        ConfigurationError: it cannot be read, or a line of it is wrong: with its number.
    """
    try:
        with path.open("rb") as file:
            return parse_recording(iter(partial(file.readline, MAX_LINE_BYTES + 1), b""))
    except OSError as error:
        problem = f"{path}: it cannot be read: {(error.strerror or type(error).__name__).lower()}"
    except MalformedError as error:
        problem = f"{path}, {error}"
    raise ConfigurationError([problem])


@attrs.define(eq=False)
class ReplayDiscovery(DiscoverySpec):
    """Reports what a backend of another node reported, as a recording has it.

    What was said of the recording node itself is left out, as that node had dropped it, unless this node has
    its key and drops it again.

    Attributes:
        path: The recording.
        recorded_source: Whose reports to play; otherwise those of the table's own name, or of the only one.
        speed: How many seconds of the recording pass in one; leases are that much shorter.
        finished: Set when all was played.
    """

    path: Path
    recorded_source: str = ""
    speed: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    finished: asyncio.Event = attrs.field(init=False, factory=asyncio.Event)
    _sightings: dict[int, Sighting] = attrs.field(init=False, factory=dict)

    @hookimpl
    async def start(self, context: Context) -> None:
        """Read the whole recording, and begin to play it."""
        recording = await anyio.to_thread.run_sync(read_recording, self.path)
        source = self._choose(recording.header.sources, context.source)
        if recording.cut_off is not None:
            context.log.warning("%s, line %d: it is cut off, and passed over", self.path, recording.cut_off)
        if recording.missing:
            context.log.warning("%s: %d reports are missing in it", self.path, recording.missing)
        entries = [entry for entry in recording.entries if entry.source == source]
        context.spawn(self._play(context, recording.header, entries), "play")

    def _choose(self, sources: Mapping[str, str], own: str) -> str:
        wanted = self.recorded_source or (own if own in sources or len(sources) != 1 else next(iter(sources)))
        if wanted in sources:
            return wanted
        recorded = join_words(map(quote, sources), "and") if sources else "none"
        problem = f"no source {quote(wanted)} was recorded; recorded: {recorded}"
        raise ConfigurationError([f"{self.path}: {problem}" + (f"; {_REMEDY}" if sources else "")])

    async def _play(self, context: Context, header: Header, entries: list[Entry]) -> None:
        own = header.key if header.key != context.key else None
        started_at = context.clock()
        for entry in entries:
            await asyncio.sleep(max(0.0, started_at + entry.at_s / self.speed - context.clock()))
            sighting = self._report(context, entry, own)
            if sighting is not None and entry.sighting is not None:
                self._sightings[entry.sighting] = sighting
        context.log.info("%s: all %d reports are played", self.path, len(entries))
        self.finished.set()

    def _report(self, context: Context, entry: Entry, own: PeerKey | None) -> Sighting | None:
        match entry.report:
            case RecordReport(record, ttl_s, renew, heard) if own is None or _key_in(record) != own:
                return context.record_received(record, ttl_s=ttl_s / self.speed, renew=renew, heard=heard)
            case AddressReport(key, address, ttl_s, configured) if key != own:
                lease_s = None if ttl_s is None else ttl_s / self.speed
                return context.peer_discovered(
                    key, address.ip, address.port, ttl_s=lease_s, configured=configured
                )
            case LossReport(key, ip, port):
                for sighting in self._sightings.values():
                    if sighting.key == key and any(
                        (ip is None or each.ip == ip) and (port is None or each.port == port)
                        for each in sighting.addresses
                    ):
                        context.peer_lost(sighting)
            case None if entry.sighting in self._sightings:
                context.peer_lost(self._sightings.pop(entry.sighting))
        return None


def _key_in(record: bytes) -> PeerKey | None:
    try:
        return decode_record(record).record.key
    except MalformedRecordError:
        return None
