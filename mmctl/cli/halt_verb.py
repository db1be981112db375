"""``mmctl halt``: a halt without a sweep. Running engines cancel the halted ladders themselves."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from functools import partial

from mmctl.bootstrap_stop import stop_clock
from mmctl.cli.diary import entries, write_down
from mmctl.cli.halting import Halting, scopes_of
from mmctl.cli.options import Output, note, say, warn_of_environment
from mmctl.cli.output import say_wrapped
from mmctl.cli.shared_place import SharedPlace, shared_place
from mmctl.cli.status import halt_shown
from mmctl.cli.stop_targets import ScopeAsked, Target, targets, tell
from mmctl.core.entries import Kind, Plain
from mmctl.core.order import Layer
from mmctl.core.report import EngineSeen
from mmctl.engine.everywhere import HaltsSet
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.registry import Registry
from mmctl.engine.roll import Roll
from mmctl.errors import EXIT_CHANGES, EXIT_DONE
from mmctl.settings import state_dir

ACKNOWLEDGE_WITHIN_S = 1.5
"""How long running engines are given: they read halts four times a second, and when they are told."""

ASK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class HaltAsked:
    """What ``mmctl halt`` was asked for; ``layer`` is ``None`` for both."""

    layer: Layer | None
    scope: ScopeAsked
    why: str


async def halt(asked: HaltAsked, output: Output) -> int:
    """Halt every account in scope and say who has acknowledged it; returns 1 where a halt does not stand everywhere.

    Raises ``UsageError`` where there is nothing to halt.
    """
    warn_of_environment()
    found = targets(asked.scope, mock=True)
    latch, place = FileHaltLatch(state_dir(os.environ)), shared_place(asked.scope.redis_url, found.redis_url)
    tell(f"halting {asked.layer or 'near and far'}", found.targets)
    try:
        ends = await asyncio.gather(*(_halt_account(target, asked, latch, place) for target in found.targets))
    finally:
        await place.close()
    for line in found.faults:
        note(f"{line}: nothing was done there")
    halts = [one for each, _ in ends for one in each.halts]
    engines = [one for _, each in ends for one in each]
    from mmctl.views import status as views

    shown = [halt_shown(one) for one in halts]
    failed = any(each.faults for each, _ in ends)
    status = "failed" if failed else "set"
    if output is Output.JSON:
        say(views.halted_json(status, shown, engines))
    else:
        say_wrapped(views.halted(status, shown, engines))
    return EXIT_CHANGES if failed or found.faults else EXIT_DONE


async def _halt_account(
    target: Target, asked: HaltAsked, latch: FileHaltLatch, place: SharedPlace
) -> tuple[HaltsSet, tuple[EngineSeen, ...]]:
    """Halt one account, and give its engines a moment to say so."""
    venue, account, clock = target.account.venue, target.account.name, stop_clock()
    halting, registry = Halting(latch, place), Registry(latch.path.parent, venue, account, clock, place.where)
    await halting.begin(scopes_of(venue, account, target.symbols, asked.layer), asked.why)
    halts = await halting.end()
    # An engine acknowledges what it has seen; that what it sent before is answered is a stop's concern.
    known = partial(registry.now, ended=True)
    roll = Roll(known, halts.uids, layer=None, symbols=(), landing_time_s=0.0, stranger_interval_s=None)
    ends_s = clock.monotonic() + ACKNOWLEDGE_WITHIN_S
    while True:
        await registry.read(place.get)
        roll.call()
        if roll.all_settled or clock.monotonic() >= ends_s:
            break
        await clock.sleep(ASK_EVERY_S)
    body: dict[str, Plain] = {
        "why": asked.why,
        "layer": asked.layer or "both",
        "halts": [str(one) for one in halts.halts],
        "halt_uids": list(halts.uids),
        "halt_amiss": list(halts.faults),
    }
    await write_down(latch.path.parent, entries(Kind.HALT, venue, account, target.symbols, body))
    return halts, roll.seen()
