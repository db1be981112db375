"""Work beside the loop: nobody ever has to wait for its end."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mmctl.bootstrap_presence import known_to_others
from mmctl.clock import SystemClock
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.no_journal import NoJournal


def test_a_disk_that_hangs_while_a_record_is_written_keeps_no_process_from_its_end(tmp_path: Path) -> None:
    seen: list[bool] = []
    setup: Any = SimpleNamespace(clock=SystemClock(), redis_url=None, state_dir=tmp_path)
    venue: Any = SimpleNamespace(name="binance", account="main", user_id="")

    async def write() -> None:
        async with AsyncExitStack() as stack:
            made: Any = known_to_others(setup, venue, FileHaltLatch(tmp_path), print, NoJournal(), stack)
            await made._done_by(lambda: seen.append(threading.current_thread().daemon))

    asyncio.run(write())
    assert seen == [True], "the end of a process waits for every other thread"
