"""The greeting: one line each way over a stream; `peernet demo` shows with it that streams work."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio

from peernet_core.errors import PeerUnreachableError

if TYPE_CHECKING:
    from peernet_core.keys import PeerKey
    from peernet_core.links.stream import Stream
    from peernet_core.node import Node

__all__ = ["GREETING", "MAX_GREETING_BYTES", "Greeter"]

GREETING: Final = "peernet/greet/1"
MAX_GREETING_BYTES: Final = 1024
TIMEOUT_S: Final = 5.0

_ENDS: Final = (anyio.IncompleteRead, anyio.DelimiterNotFound, anyio.BrokenResourceError)


class Greeter:
    """Greets peers, and answers their greetings with our name.

    Args:
        node: Whose streams are used.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    async def answer(self, stream: Stream) -> None:
        """Read one greeting and answer it; for `Node.protocol`."""
        with anyio.move_on_after(TIMEOUT_S), suppress(anyio.IncompleteRead, anyio.DelimiterNotFound):
            await _receive_line(stream)
            name = self._node.name or self._node.key.short
            await stream.send(name.encode()[: MAX_GREETING_BYTES - 1] + b"\n")

    async def greet(self, key: PeerKey, text: str) -> str:
        """Greet a peer.

        Args:
            key: A trusted peer.
            text: One line; what is too long is cut.

        Returns:
            The peer's answer: its name, as it says.

        Raises:
            PeerNetError: no stream could be opened, or it ended before an answer came.
        """
        line = " ".join(text.split()).encode("utf-8", "replace")[: MAX_GREETING_BYTES - 1]
        async with await self._node.open(key, GREETING, timeout_s=TIMEOUT_S) as stream:
            try:
                with anyio.fail_after(TIMEOUT_S):
                    await stream.send(line + b"\n")
                    answer = await _receive_line(stream)
            except TimeoutError as error:
                raise PeerUnreachableError(key, "no answer to the greeting") from error
            except _ENDS as error:
                raise PeerUnreachableError(
                    key, "the stream ended before the answer to the greeting"
                ) from error
        return answer.decode("utf-8", "replace")


async def _receive_line(stream: Stream) -> bytes:
    from anyio.streams.buffered import BufferedByteReceiveStream  # noqa: PLC0415 - no start waits for it

    return await BufferedByteReceiveStream(stream).receive_until(b"\n", MAX_GREETING_BYTES)
