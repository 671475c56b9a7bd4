"""Blocking work outside the event loop."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TypeVar

TIMEOUT_SECONDS = 30.0
Result = TypeVar("Result")


async def run_in_daemon_thread(work: Callable[[], Result], timeout_seconds: float = TIMEOUT_SECONDS) -> Result:
    """The result of `work`, or what it raises; TimeoutError after `timeout_seconds`.
    It runs on a daemon thread, unlike asyncio's own: a database that does not answer
    could otherwise delay the end of the process for hours.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.done():  # the caller has stopped waiting
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only where Result may be

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # raised again in the waiting task
            error = raised
        with suppress(RuntimeError):  # the loop may have ended
            loop.call_soon_threadsafe(settle, result, error)

    Thread(target=run, name="database", daemon=True).start()
    return await asyncio.wait_for(future, timeout_seconds)
