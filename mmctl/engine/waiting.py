"""Waiting for news, and looking all the same when none comes."""

from __future__ import annotations

import asyncio


async def news_or(news: asyncio.Event, seconds: float) -> None:
    """Come back as soon as ``news`` is set; it is set after ``seconds`` in any case.

    For a watcher who clears it and looks at everything whatever woke it. That happens many times a second, and so no
    exception is thrown where nothing came, as ``asyncio.timeout`` does.
    """
    timer = asyncio.get_running_loop().call_later(seconds, news.set)
    try:
        await news.wait()
    finally:
        timer.cancel()
