"""A medium that is only simulated: whatever one says, all hear, itself included."""

from __future__ import annotations

import asyncio
import errno
import itertools
from collections.abc import Callable
from typing import ClassVar, Final
from weakref import WeakValueDictionary

__all__ = ["BroadcastMedium", "Member"]

_numbers: Final = itertools.count(1)


class BroadcastMedium:
    """Carries bytes between its members in one event loop, in order, in a turn of the loop each.

    It has a name, so that a backend's options can say which one it is to use.

    Attributes:
        name: Unique in this process.
        is_up: Whether anything is carried; see `vanish`.
    """

    _by_name: ClassVar[WeakValueDictionary[str, BroadcastMedium]] = WeakValueDictionary()

    def __init__(self) -> None:
        self.name = f"medium-{next(_numbers)}"
        self.is_up = True
        self._members: set[Member] = set()
        self._by_name[self.name] = self

    @classmethod
    def named(cls, name: str) -> BroadcastMedium:
        """The medium of that name.

        Raises:
            OSError: there is none (ENODEV).
        """
        medium = cls._by_name.get(name)
        if medium is None:
            raise OSError(errno.ENODEV, "no such medium", name)
        return medium

    def join(self, hear: Callable[[bytes], object]) -> Member:
        """Take part: `hear` is called with each thing that anybody says from now on.

        Raises:
            OSError: the medium is not there (ENETDOWN).
        """
        self._check()
        member = Member(self, hear)
        self._members.add(member)
        return member

    def vanish(self) -> None:
        """Be gone: all members are out, and nobody can join or say anything until `come_back`."""
        self.is_up = False
        self._members.clear()

    def come_back(self) -> None:
        """Be there again, without any member."""
        self.is_up = True

    def say(self, data: bytes) -> None:
        """Say something to all members, as somebody from outside."""
        self._check()
        loop = asyncio.get_running_loop()
        for member in tuple(self._members):
            loop.call_soon(member._hear, data)  # noqa: SLF001 - two halves of one thing

    def _check(self) -> None:
        if not self.is_up:
            raise OSError(errno.ENETDOWN, "the medium is down", self.name)

    def _leave(self, member: Member) -> None:
        self._members.discard(member)

    def _has(self, member: Member) -> bool:
        return member in self._members


class Member:
    """One that takes part in a medium."""

    def __init__(self, medium: BroadcastMedium, hear: Callable[[bytes], object]) -> None:
        self._medium = medium
        self._hear_it = hear

    def say(self, data: bytes) -> None:
        """Say something to all, oneself included.

        Raises:
            OSError: the medium went away since this one joined (ENETDOWN).
        """
        if not self._medium._has(self):  # noqa: SLF001 - two halves of one thing
            raise OSError(errno.ENETDOWN, "no longer a member", self._medium.name)
        self._medium.say(data)

    def leave(self) -> None:
        """Hear nothing more; may be repeated."""
        self._medium._leave(self)  # noqa: SLF001 - two halves of one thing

    def _hear(self, data: bytes) -> None:
        if self._medium._has(self):  # noqa: SLF001 - two halves of one thing
            self._hear_it(data)
