"""Work that blocks, off the event loop."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TypeVar

PATIENCE_SECONDS = 30.0
Result = TypeVar("Result")


async def run_in_daemon_thread(work: Callable[[], Result], patience_seconds: float = PATIENCE_SECONDS) -> Result:
    """What `work` returns or raises, or TimeoutError when patience is at an end.

    On a thread that does not keep the program from ending, unlike asyncio's own: a database that fell
    silent could hold up the end for hours.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.done():  # nobody waits any more
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only where Result may be

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # carried over to who waits
            error = raised
        with suppress(RuntimeError):  # the loop may have ended
            loop.call_soon_threadsafe(settle, result, error)

    Thread(target=run, name="database", daemon=True).start()
    return await asyncio.wait_for(future, patience_seconds)
