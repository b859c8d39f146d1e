"""When this host's network changes: told by the kernel where it tells, by looking again elsewhere."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

import attrs

from peernet_core.addresses import NetworkSnapshot
from peernet_core.kernel_messages import Messages, open_clock_messages
from peernet_core.network import read_network

__all__ = ["KernelMessages", "NetworkWatch", "open_kernel_messages", "time_asleep_s"]

_log = logging.getLogger(__name__)

TICK_S: Final = 1.0
"""How often to ask whether the host has slept, where nothing tells of it."""
POLL_S: Final = 5.0
SAFETY_POLL_S: Final = 60.0
"""How often to look although the kernel tells of changes."""
SETTLE_S: Final = 0.05
LONGEST_SETTLE_S: Final = 0.5
ASLEEP_S: Final = 1.0
"""Longer than two clocks that are read one after the other differ by themselves."""

# <linux/rtnetlink.h>
_RTMGRP_LINK: Final = 0x1
_RTMGRP_IPV4_IFADDR: Final = 0x10
_RTMGRP_IPV6_IFADDR: Final = 0x100
_GROUPS: Final = _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR

# Several times what a socket's buffer holds by default.
_MOST_READ: Final = 4096


class KernelMessages:
    """Linux's messages about links and addresses, from a netlink socket.

    A message only means "look again": none is ever parsed, so the standard library's socket is enough and no
    netlink library is needed. For the same reason nothing is lost when messages overflow the socket
    (ENOBUFS): that is a message as well.

    Raises:
        OSError: there are none here.
    """

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise OSError(errno.EAFNOSUPPORT, "netlink is Linux's")
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        try:
            self._socket.setblocking(False)
            self._socket.bind((0, _GROUPS))
        except BaseException:
            self._socket.close()
            raise

    async def wait(self) -> None:
        """See `Messages`."""
        try:
            await asyncio.get_running_loop().sock_recv(self._socket, 1)  # the rest of it is dropped
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise

    def clear(self) -> None:
        """See `Messages`. After an overflow the kernel sends nothing until all that came before is read."""
        for _ in range(_MOST_READ):
            try:
                self._socket.recv(1)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    return  # nothing is left; if it is worse than that, `wait` will say so

    def close(self) -> None:
        """See `Messages`."""
        self._socket.close()


def open_kernel_messages() -> Messages | None:
    """Listen to the kernel, if it talks here and lets us listen."""
    try:
        return KernelMessages()
    except OSError as error:
        _log.debug("looking at the network every %g s: %s", POLL_S, ascii(str(error)))
        return None


def time_asleep_s() -> float:
    """How long the host has been suspended since it booted; always 0 where the system does not say."""
    if sys.platform != "linux":
        return 0.0
    try:
        # In this order: a pause between the two makes the result too small, which is no sleep.
        with_sleep = time.clock_gettime(time.CLOCK_BOOTTIME)
        return with_sleep - time.clock_gettime(time.CLOCK_MONOTONIC)
    except OSError:
        return 0.0


class NetworkWatch:
    """The network monitor.

    It looks when the kernel says that something happened, and from time to time in any case. It looks 50 ms
    after the first message, because changes come in groups; as long as messages keep coming it takes twice
    as long each time, half a second at most. So an interface that flaps neither floods those who wait nor
    keeps them from the news.

    Timers stand still while the host is suspended. That it was is seen at once after waking where the clock
    tells of it, else within a second, and is a change.

    When the system cannot say, the last snapshot stands: that a host has lost its network is a claim that
    nobody should make for want of a descriptor.

    Args:
        read: Where snapshots come from; their `resumes` is set here.
        listen: Called when `run` begins; None: nothing tells of changes.
        listen_clock: The same for jumps of the clock, as on waking up.
        asleep_s: How long the host has been suspended, since any moment.
    """

    def __init__(
        self,
        read: Callable[[], NetworkSnapshot] = read_network,
        *,
        listen: Callable[[], Messages | None] = open_kernel_messages,
        listen_clock: Callable[[], Messages | None] = open_clock_messages,
        asleep_s: Callable[[], float] = time_asleep_s,
    ) -> None:
        self._read = read
        self._listen = listen
        self._listen_clock = listen_clock
        self._asleep_s = asleep_s
        self._slept_s = asleep_s()
        self._resumes = 0
        self._snapshot = NetworkSnapshot()
        self._change = asyncio.Event()
        self._failing = False
        self.poll()

    @property
    def snapshot(self) -> NetworkSnapshot:
        """The newest state; never blocks."""
        return self._snapshot

    async def changed(self) -> NetworkSnapshot:
        """Wait for the next change from now on and return the state after it.

        Who was busy in the meantime may have missed one. To miss none, compare `snapshot` with what was last
        acted on, and wait only while they are equal:

            while True:
                while network.snapshot == acted_on:
                    await network.changed()
                acted_on = network.snapshot
                ...
        """
        await self._change.wait()
        return self._snapshot

    def poll(self) -> None:
        """Look now; never raises for what the system says or does not say."""
        try:
            snapshot = self._read()
        except Exception as error:  # noqa: BLE001 - ifaddr also asserts and decodes; any of it means: unknown
            if not self._failing:
                _log.warning("the network cannot be read, keeping what was known: %s", ascii(str(error)))
            self._failing = True
            snapshot = self._snapshot
        else:
            self._failing = False
        if snapshot.resumes != self._resumes:
            snapshot = attrs.evolve(snapshot, resumes=self._resumes)
        if snapshot != self._snapshot:
            self._snapshot = snapshot
            self._change.set()
            self._change = asyncio.Event()

    async def run(self) -> None:
        """Look whenever there is a reason, until cancelled."""
        messages = self._listen()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_clock(), name="peernet-network-clock")
                self.poll()  # for what changed before we listened
                if messages is not None:
                    group.create_task(self._look_regularly(SAFETY_POLL_S), name="peernet-network-safety")
                    await self._follow(messages)
                await self._look_regularly(POLL_S)
        finally:
            if messages is not None:
                messages.close()

    async def _look_regularly(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            self._has_slept()  # counts it, should the clock have told nothing
            self.poll()

    async def _follow(self, messages: Messages) -> None:
        clock = asyncio.get_running_loop().time
        settle_s, looked_at = SETTLE_S, -math.inf
        while True:
            try:
                await messages.wait()
            except OSError as error:
                _log.warning("the system tells no more of network changes: %s", ascii(str(error)))
                return
            calm = clock() - looked_at > settle_s
            settle_s = SETTLE_S if calm else min(2 * settle_s, LONGEST_SETTLE_S)
            await asyncio.sleep(settle_s)
            messages.clear()  # before looking: what comes from here on is a reason to look again
            self.poll()
            looked_at = clock()

    async def _follow_clock(self) -> None:
        """See when the host has slept; asking every second where nothing tells of it."""
        messages = self._listen_clock()
        try:
            while True:
                if messages is None:
                    await asyncio.sleep(TICK_S)
                else:
                    await messages.wait()
                    messages.clear()
                if self._has_slept():
                    self.poll()
        finally:
            if messages is not None:
                messages.close()

    def _has_slept(self) -> bool:
        slept_s = self._asleep_s()
        woke = slept_s - self._slept_s > ASLEEP_S
        # What was measured too small must not look like sleep afterwards.
        self._slept_s = max(self._slept_s, slept_s)
        self._resumes += woke
        return woke
