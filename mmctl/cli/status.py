"""``mmctl status``: what engines say of themselves, and what is halted. It asks no venue and needs no keys."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from mmctl.bootstrap_stop import stop_clock
from mmctl.cli.options import Output, note, say, warn_of_environment
from mmctl.cli.output import say_wrapped
from mmctl.cli.shared_place import SharedPlace, shared_place
from mmctl.cli.stop_targets import Found, ScopeAsked, targets
from mmctl.core.status import Condition, EngineShown, HaltShown, LayerShown, PairShown, Status
from mmctl.engine.everywhere import halts_everywhere
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.registered import EngineState, Life
from mmctl.engine.registry import Registry, accounts_known
from mmctl.errors import EXIT_CHANGES, EXIT_DONE, SharedUnreadable, UsageError
from mmctl.ports import Clock, Halt, Shared
from mmctl.profile_find import find_profile
from mmctl.profile_stop import read_stop_profile
from mmctl.settings import PROFILE_VARIABLE, state_dir

SILENT_S = 5.0
"""An engine writes four times a second, and each of its pairs gets on once a second, unless its venue is slow."""

Account = tuple[str, str]


async def status(asked: ScopeAsked, output: Output) -> int:
    """Show it; returns 1 where something is halted, not well, or could not be read.

    Raises ``UsageError`` for a command line or a profile that names nothing that can be looked at.
    """
    warn_of_environment()
    found = _scope(asked)
    place = shared_place(asked.redis_url, found.redis_url if found is not None else None)
    wanted = None if found is None else [(one.account.venue, one.account.name) for one in found.targets]
    try:
        told = await _status(wanted, state_dir(os.environ), place, stop_clock())
    finally:
        await place.close()
    from mmctl.views import status as views

    if output is Output.JSON:
        say(views.as_json(told))
    else:
        say_wrapped(views.text(told))
    return EXIT_CHANGES if told.needs_a_look else EXIT_DONE


def _scope(asked: ScopeAsked) -> Found | None:
    """The accounts asked for; ``None`` where nothing was asked for, or a profile that is broken: then all are shown."""
    if asked.venue is None and asked.account is None and not (asked.profile or os.environ.get(PROFILE_VARIABLE)):
        return None
    if asked.venue is None:
        find_profile(asked.profile, environ=os.environ, cwd=Path.cwd())
        try:
            read_stop_profile(asked.profile, environ=os.environ, cwd=Path.cwd())
        except UsageError as error:
            note(f"{error.message}; all that the state folder knows is shown")
            return None
    found = targets(asked)
    for fault in found.faults:
        note(fault)
    return found


async def _status(wanted: Sequence[Account] | None, folder: Path, place: SharedPlace, clock: Clock) -> Status:
    shared, fault = await _reached(place)
    in_force, unread = await halts_everywhere(FileHaltLatch(folder), shared)
    faults = list(dict.fromkeys(filter(None, (fault, *unread))))
    accounts = wanted
    if accounts is None:
        known, amiss = accounts_known(folder)
        elsewhere, unknown = await _accounts_in(shared)
        halted = ((one.scope.venue, one.scope.account) for one in in_force)
        accounts = list(dict.fromkeys([*known, *elsewhere, *halted]))
        faults += [*amiss, *unknown]
    shown: list[EngineShown] = []
    registries = [Registry(folder, venue, account, clock, "" if fault else place.where) for venue, account in accounts]
    await asyncio.gather(*(registry.read(place.get) for registry in registries))
    for (venue, account), registry in zip(accounts, registries, strict=True):
        for state in registry.now():
            if state.record is None and state.where == place.where:
                faults.append(state.detail)  # Redis itself, and no engine
            else:
                shown.append(engine_shown(state, venue, account))
    halts = [halt_shown(one) for one in in_force if (one.scope.venue, one.scope.account) in accounts]
    return Status(tuple(shown), tuple(halts), tuple(dict.fromkeys(faults)))


async def _accounts_in(shared: Shared | None) -> tuple[list[Account], list[str]]:
    """The accounts of which Redis has engines, and why it does not say, if so."""
    if shared is None:
        return [], []
    try:
        return await shared.accounts(), []
    except SharedUnreadable as error:
        return [], [str(error)]


async def _reached(place: SharedPlace) -> tuple[Shared | None, str]:
    """What hosts share, and why it cannot be reached, if so."""
    try:
        return await place.get(), ""
    except SharedUnreadable as error:
        return None, str(error)


def engine_shown(state: EngineState, venue: str, account: str) -> EngineShown:
    """An engine as it is shown."""
    record = state.record
    if record is None:
        return EngineShown(state.name, _condition(state), state.where, venue, account, detail=state.detail)
    ages_ms = _progress_ages_ms(state)
    pairs = tuple(
        PairShown(
            pair.name,
            pair.symbol,
            ages_ms[number] if ages_ms else None,
            tuple(LayerShown(one.layer, one.status, one.resting, one.unanswered) for one in pair.layers),
        )
        for number, pair in enumerate(record.pairs)
    )
    return EngineShown(
        name=state.name,
        condition=_condition(state),
        where=state.where,
        venue=venue,
        account=account,
        epoch=record.epoch,
        host=record.host,
        pid=record.pid,
        mode=record.mode,
        version=record.version,
        started_ms=record.started_ms,
        age_ms=None if state.age_s is None else state.age_s * 1000,
        pairs=pairs,
        held=record.held,
        detail=state.detail,
    )


def _progress_ages_ms(state: EngineState) -> list[float] | None:
    """How long ago each pair got on: the slowest as it was seen, the others by how much later they did."""
    if state.record is None or state.progress_age_s is None:
        return None
    first_ms = min(pair.progress_ms for pair in state.record.pairs)
    slowest_ms = state.progress_age_s * 1000
    return [max(0.0, slowest_ms - (pair.progress_ms - first_ms)) for pair in state.record.pairs]


def _condition(state: EngineState) -> Condition:
    if state.life is not Life.LIVE or state.record is None:
        return Condition.DEAD if state.life is Life.DEAD else Condition.UNREADABLE
    if max(state.age_s or 0.0, state.progress_age_s or 0.0) > SILENT_S:
        return Condition.SILENT
    return Condition.HELD if state.record.held else Condition.QUOTING


def halt_shown(halt: Halt) -> HaltShown:
    """A halt as it is shown."""
    scope = halt.scope
    return HaltShown(
        halt.uid, scope.venue, scope.account, scope.symbol, scope.layer, halt.by, halt.at_ms, halt.why, str(halt)
    )


def run(asked: ScopeAsked, output: Output) -> int:
    """``status`` in a loop of its own."""
    return asyncio.run(status(asked, output))
