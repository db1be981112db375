"""How ``resume`` lifts halts: those in scope, named one by one, and never while a stop sweeps, here or elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable

from mmctl.cli.diary import entries, write_down
from mmctl.cli.options import Output, note, say, warn_of_environment
from mmctl.cli.shared_place import SharedPlace, shared_place
from mmctl.cli.stop_targets import Found, ScopeAsked, targets
from mmctl.core.entries import Entry, Kind
from mmctl.engine.everywhere import Resumed, halts_everywhere, resume_everywhere
from mmctl.engine.halt import FileHaltLatch, who
from mmctl.engine.lock import alone, stop_lock
from mmctl.errors import EXIT_CHANGES, EXIT_DONE, PairHeld, SharedUnreadable, StateUnreadable
from mmctl.ports import Halt, Shared
from mmctl.settings import state_dir


def lift(asked: ScopeAsked, output: Output) -> int:
    """Lift the halts of the accounts in scope, or of the pairs named; returns 1 where one of them stays.

    Raises ``UsageError``, ``StateUnreadable``, and ``PairHeld`` while a stop is sweeping one of the accounts.
    """
    warn_of_environment()
    return asyncio.run(_lift(asked, targets(asked, mock=True), output))


async def _lift(asked: ScopeAsked, found: Found, output: Output) -> int:
    accounts = list(dict.fromkeys((target.account.venue, target.account.name) for target in found.targets))
    latch, place = FileHaltLatch(state_dir(os.environ)), shared_place(asked.redis_url, found.redis_url)
    try:
        return await _lift_at(latch, place, found, accounts, output)
    finally:
        await place.close()


async def _lift_at(
    latch: FileHaltLatch, place: SharedPlace, found: Found, accounts: list[tuple[str, str]], output: Output
) -> int:
    chosen = _chosen(found)
    with contextlib.ExitStack() as stack:
        for venue, account in accounts:
            if not stack.enter_context(alone(stop_lock(latch.path.parent, venue, account))):
                raise PairHeld(f"a stop is sweeping {venue}, account {account}", "resume when it has ended")
        shared, fault = await _reached(place)
        rubbish = _has_rubbish(latch)
        at_ms = time.time_ns() // 1_000_000
        resumed = await resume_everywhere(latch, shared, chosen, by=who(), at_ms=at_ms, accounts=accounts)
    if rubbish and not _has_rubbish(latch):
        note(f"mended {latch.path}: what was no halt record is kept beside it, as halts.broken-{at_ms}")
    in_force, unread = await halts_everywhere(latch, shared)
    _tell(resumed, [halt for halt in in_force if (halt.scope.venue, halt.scope.account) in accounts], output)
    why = fault or resumed.why
    for line in dict.fromkeys(filter(None, (why if resumed.left or fault else "", *unread))):
        note(f"not everything could be resumed: {line}")
    await write_down(latch.path.parent, _entries(resumed, accounts))
    return EXIT_CHANGES if resumed.left or fault or unread else EXIT_DONE


def _has_rubbish(latch: FileHaltLatch) -> bool:
    """Whether the halt file holds something that is no halt record, or cannot be read."""
    try:
        latch.halts()
    except StateUnreadable:
        return True
    return False


async def _reached(place: SharedPlace) -> tuple[Shared | None, str]:
    """What hosts share, and why it cannot be reached, if so."""
    try:
        return await place.get(), ""
    except SharedUnreadable as error:
        return None, str(error)


def _chosen(found: Found) -> Callable[[Halt], bool]:
    accounts = {(target.account.venue, target.account.name): target for target in found.targets}

    def chosen(halt: Halt) -> bool:
        target = accounts.get((halt.scope.venue, halt.scope.account))
        return target is not None and (target.symbols is None or halt.scope.symbol in target.symbols)

    return chosen


def _tell(resumed: Resumed, left: list[Halt], output: Output) -> None:
    if output is Output.JSON:
        from mmctl.views import jsonlines

        say(jsonlines.resumed([str(one) for one in resumed.lifted], [str(one) for one in left]))
        return
    from mmctl.cli.output import say_wrapped
    from mmctl.views.text import clean

    for one in resumed.lifted:
        say_wrapped(clean(f"lifted {one!s}"))
    if not resumed.lifted and not resumed.left:
        say_wrapped("nothing was halted in this scope")
    stuck = {one.uid for one in resumed.left}
    for one in left:
        wider = "" if one.scope.symbol or one.uid in stuck else "; resume without --pair lifts it"
        say_wrapped(clean(f"still halted: {one!s}{wider}"))


def _entries(resumed: Resumed, accounts: list[tuple[str, str]]) -> list[Entry]:
    """What was lifted, an entry for each account that something was lifted on."""
    written: list[Entry] = []
    for venue, account in accounts:
        lifted = [one for one in resumed.lifted if (one.scope.venue, one.scope.account) == (venue, account)]
        if lifted:
            body = {"lifted": [str(one) for one in lifted], "uids": [one.uid for one in lifted]}
            written += entries(Kind.RESUME, venue, account, None, body)
    return written
