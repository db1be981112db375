"""Work that may block, beside a loop that must not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

_T = TypeVar("_T")


class DoneBy(Protocol):
    """How work that may block is done: ``beside`` the loop, or, under virtual time, ``at_once``."""

    async def __call__(self, work: Callable[[], _T], /) -> _T:
        """Do ``work``. Raises what it raises."""


async def at_once(work: Callable[[], _T], /) -> _T:
    """Do ``work`` here and now, in the loop's way. Raises what it raises."""
    return work()


async def beside(work: Callable[[], _T], /) -> _T:
    """Do ``work``, which may block, in a thread that nobody ever has to wait for. Raises what it raises."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def tell(act: Callable[[], None]) -> None:
        if not done.done():
            act()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - saves whoever waits: it is raised there
            act = _raising(done, error)
        else:
            act = _telling(done, result)
        try:
            loop.call_soon_threadsafe(tell, act)
        except RuntimeError:
            return  # the loop has ended, and with it whoever waited

    # Not one of the loop's own threads: the loop's end would wait for those.
    threading.Thread(target=run, daemon=True).start()
    return await done


def _raising(done: asyncio.Future[_T], error: BaseException) -> Callable[[], None]:
    return lambda: done.set_exception(error)


def _telling(done: asyncio.Future[_T], result: _T) -> Callable[[], None]:
    return lambda: done.set_result(result)
