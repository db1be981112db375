"""Many seeds, one after another or on several processors, and what came of them all."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TextIO

from mmctl.drill.play import Played, play
from mmctl.drill.site import Script

AHEAD = 4
"""How many seeds a processor may be ahead of the one that is told next."""


@dataclass(slots=True)
class Result:
    """All seeds together. ``trace_sha256`` is made of each seed's own, in order."""

    seeds: int = 0
    rounds: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    broken: list[Played] = field(default_factory=list)
    elapsed_ms: float = 0.0
    _traces: list[str] = field(default_factory=list)

    @property
    def trace_sha256(self) -> str:
        return hashlib.sha256("\n".join(self._traces).encode()).hexdigest()

    def add(self, played: Played) -> None:
        self.seeds += 1
        self.rounds += played.rounds
        self.faults.update(played.faults)
        self._traces.append(played.trace_sha256)
        if played.broken is not None:
            self.broken.append(played)


def run(
    script: Script,
    seeds: Sequence[int],
    *,
    rounds: int,
    jobs: int = 1,
    trace_to: TextIO | None = None,
    told: Callable[[Result], None] = lambda result: None,
) -> Result:
    """Play ``seeds``; ``told`` hears after each. ``jobs`` processes play at a time; a trace is written by one alone."""
    result, began_s = Result(), time.perf_counter()
    with ExitStack() as stack:
        one = partial(play, script, rounds=rounds, trace_to=trace_to)
        for played in map(one, seeds) if jobs == 1 else _beside(stack, script, seeds, rounds, jobs):
            result.add(played)
            result.elapsed_ms = (time.perf_counter() - began_s) * 1000
            told(result)
    return result


def _beside(stack: ExitStack, script: Script, seeds: Sequence[int], rounds: int, jobs: int) -> Iterator[Played]:
    """The seeds in their order, played by ``jobs`` processes; a few are under way at a time."""
    pool = stack.enter_context(ProcessPoolExecutor(jobs))
    left = iter(seeds)
    waiting = [pool.submit(play, script, seed, rounds) for seed in itertools.islice(left, jobs * AHEAD)]
    while waiting:
        played = waiting.pop(0).result()
        waiting += [pool.submit(play, script, seed, rounds) for seed in itertools.islice(left, 1)]
        yield played
