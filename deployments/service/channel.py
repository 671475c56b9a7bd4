"""A line between `hybrid-ml up` and a service: the service says that it is alive, and hears what `up` found out.

It is a pair of connected sockets, so it needs no file, works on a full disk, and ends with either of the two.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

VARIABLE = "HYBRID_ML_CHANNEL"
"""The number of the descriptor, for a service that was started with one."""
ALIVE_SECONDS = 2.0
BYTES_AT_ONCE = 65_536


class Channel:
    """The end of `up`. Neither method waits: a service that is stopped holds up nothing."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair()
        self._ours.setblocking(False)
        self.theirs.setblocking(False)

    def was_heard(self) -> bool:
        """Whether the service said since the last call that it is alive."""
        heard = False
        with suppress(OSError):
            while self._ours.recv(BYTES_AT_ONCE):
                heard = True
        return heard

    def tell(self, part: str, problem: str) -> None:
        """Tell the service of the `problem` of a `part`; empty: it is ready again. Lost where it does not listen."""
        with suppress(OSError):
            self._ours.send(json.dumps([part, problem]).encode() + b"\n")

    def close(self) -> None:
        """End it; a service that starts again gets a new one."""
        self._ours.close()
        self.theirs.close()


class Listener:
    """The end of a service; without one that started it, it says and hears nothing."""

    def __init__(self) -> None:
        number = os.environ.pop(VARIABLE, "")  # what this process starts has no part in it
        self._socket = socket.socket(fileno=int(number)) if number.isdecimal() else None
        self._rest = b""

    def say_alive(self) -> None:
        """One sign."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.send(b".")

    def received(self) -> list[tuple[str, str]]:
        """Part and problem of whatever `up` told since the last call."""
        if self._socket is None:
            return []
        with suppress(OSError):
            self._rest += self._socket.recv(BYTES_AT_ONCE)
        *lines, self._rest = self._rest.split(b"\n")
        return [(str(part), str(problem)) for part, problem in map(json.loads, lines)]

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Signs for as long as the block lasts and the event loop goes round."""

        async def repeat() -> None:
            while True:
                self.say_alive()
                await asyncio.sleep(ALIVE_SECONDS)

        signs = asyncio.create_task(repeat())
        try:
            yield
        finally:
            signs.cancel()
