"""A connection between `hybrid-ml up` and a service: the service sends signs of life, `up` sends problems.

It is a pair of connected sockets, so it needs no file, works on a full disk, and closes when either process ends.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

VARIABLE = "HYBRID_ML_CHANNEL"
"""The number of the descriptor, for a service that was started with a channel."""
ALIVE_SECONDS = 2.0
BYTES_AT_ONCE = 65_536


class Channel:
    """The end of `up`. No method waits, so a suspended service blocks nothing."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair()
        self._ours.setblocking(False)
        self.theirs.setblocking(False)

    def has_sign_of_life(self) -> bool:
        """Whether the service has sent a sign of life since the last call."""
        has_sign = False
        with suppress(OSError):
            while self._ours.recv(BYTES_AT_ONCE):
                has_sign = True
        return has_sign

    def tell(self, part: str, problem: str) -> None:
        """Send the `problem` of a `part` to the service; empty: it is ready again. Lost where it does not read."""
        with suppress(OSError):
            self._ours.send(json.dumps([part, problem]).encode() + b"\n")

    def close(self) -> None:
        """Close it; a service that starts again gets a new one."""
        self._ours.close()
        self.theirs.close()


class Listener:
    """The end of a service; without a channel it sends and receives nothing."""

    def __init__(self) -> None:
        number = os.environ.pop(VARIABLE, "")  # not inherited by processes that this one starts
        self._socket = socket.socket(fileno=int(number)) if number.isdecimal() else None
        self._rest = b""

    def send_sign_of_life(self) -> None:
        """Send one sign of life."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.send(b".")

    def received(self) -> list[tuple[str, str]]:
        """Parts and problems that `up` has sent since the last call."""
        if self._socket is None:
            return []
        with suppress(OSError):
            self._rest += self._socket.recv(BYTES_AT_ONCE)
        *lines, self._rest = self._rest.split(b"\n")
        return [(str(part), str(problem)) for part, problem in map(json.loads, lines)]

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Send signs of life while the block runs and the event loop is not blocked."""

        async def repeat() -> None:
            while True:
                self.send_sign_of_life()
                await asyncio.sleep(ALIVE_SECONDS)

        signs = asyncio.create_task(repeat())
        try:
            yield
        finally:
            signs.cancel()
