"""The time of a drill and the loops of its processes: order, time that passes at once, processes that stand still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

import pytest

from mmctl.drill.timeline import Process, Timeline


def run(timeline: Timeline, until_s: float = 100.0, done: Callable[[], bool] = lambda: False) -> None:
    timeline.run(until_s, done)


def test_what_is_due_at_one_moment_comes_in_the_order_it_was_put() -> None:
    timeline, seen = Timeline(), []
    process = Process(timeline, "one")

    async def work() -> None:
        loop = asyncio.get_running_loop()
        for number in range(20):
            loop.call_at(1.0, seen.append, number)
        loop.call_later(0.5, seen.append, "before").cancel()
        loop.call_later(0.5, seen.append, "first")
        await asyncio.sleep(2.0)

    main = process.start(work())
    run(timeline)
    assert main.done()
    assert seen == ["first", *range(20)]
    process.bury()


def test_time_passes_at_once_and_the_processes_take_turns() -> None:
    timeline, seen = Timeline(), []

    async def tick(name: str, every_s: float) -> None:
        for _ in range(3):
            await asyncio.sleep(every_s)
            seen.append((name, asyncio.get_running_loop().time()))

    processes = [Process(timeline, name) for name in ("a", "b")]
    for process, every_s in zip(processes, (1.0, 1.5), strict=True):
        process.start(tick(process.name, every_s))
    run(timeline, done=lambda: len(seen) == 6)
    assert seen == [("a", 1.0), ("b", 1.5), ("a", 2.0), ("b", 3.0), ("a", 3.0), ("b", 4.5)]
    assert timeline.now_s == 4.5
    for process in processes:
        process.bury()


def test_a_process_that_stands_still_loses_that_time_and_a_dead_one_never_runs_again() -> None:
    timeline, seen = Timeline(), []
    process = Process(timeline, "one")

    async def work() -> None:
        while True:
            await asyncio.sleep(1.0)
            seen.append((timeline.now_s, process.time_s))

    process.start(work())
    timeline.at(1.5, process.suspend)
    timeline.at(4.5, process.resume)
    timeline.at(6.5, process.kill)
    run(timeline, until_s=20.0)
    assert seen == [(1.0, 1.0), (5.0, 2.0), (6.0, 3.0)]
    process.bury()


def test_time_outs_and_what_a_buried_process_tidies_up() -> None:
    timeline, seen = Timeline(), []
    process = Process(timeline, "one")

    async def work() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await asyncio.Event().wait()
        seen.append(timeline.now_s)
        try:
            await asyncio.gather(asyncio.sleep(inf), asyncio.Event().wait())
        finally:
            seen.append("tidied up")

    process.start(work())
    run(timeline, until_s=5.0)
    assert seen == [2.0]
    process.bury()
    assert seen == [2.0, "tidied up"]
    assert process.loop.is_closed()


def test_what_a_loop_could_only_log_is_kept() -> None:
    timeline = Timeline()
    process = Process(timeline, "one")

    async def work() -> None:
        asyncio.get_running_loop().call_soon(int, "x")
        await asyncio.sleep(1.0)

    main = process.start(work())
    run(timeline)
    assert main.done()
    assert process.wrong == [
        "a callback failed: ValueError(\"invalid literal for int() with base 10: 'x'\")",
    ]
    process.bury()
