"""Halting and resuming in the state folder and in Redis at once, and saying for each whether it was done.

``shared`` is ``None`` where no Redis is configured.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from mmctl.engine.beside import DoneBy, at_once
from mmctl.engine.halt import FileHaltLatch, new_uid
from mmctl.errors import PairHeld, SharedUnreadable, StateUnreadable
from mmctl.ports import Halt, HaltScope, Shared, SharedHalts

SHARED_TIMEOUT_S = 2.0
"""How long Redis may take: a stop goes on without it."""

FOLDER_TIMEOUT_S = 2.0
"""How long the state folder's disk may take: a stop goes on without it too."""


@dataclass(frozen=True, slots=True)
class HaltsSet:
    """How setting halts ended. ``halts`` were asked for; by their ``uid`` engines acknowledge them.

    ``folder_fault`` and ``shared_fault`` say why they are not in that place, empty where they are, or where there is
    no such place.
    """

    halts: tuple[Halt, ...]
    folder_fault: str = ""
    shared_fault: str = ""

    @property
    def uids(self) -> tuple[str, ...]:
        return tuple(halt.uid for halt in self.halts)

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the halts do not stand everywhere they were asked for; empty where they do."""
        return tuple(fault for fault in (self.folder_fault, self.shared_fault) if fault)


@dataclass(frozen=True, slots=True)
class Resumed:
    """What a resume lifted, and what it did not although it was asked to: those are ``left``, because of ``why``."""

    lifted: tuple[Halt, ...]
    left: tuple[Halt, ...] = ()
    why: str = ""


async def set_everywhere(
    latch: FileHaltLatch,
    shared: Shared | None,
    scopes: Sequence[HaltScope],
    *,
    by: str,
    at_ms: int,
    why: str,
    timeout_s: float = SHARED_TIMEOUT_S,
    done_by: DoneBy = at_once,
) -> HaltsSet:
    """Halt every one of ``scopes``, in both places at once. Never raises for what a place does.

    ``done_by`` writes in the state folder.
    """
    wanted = tuple(Halt(0, scope, by, at_ms, why, new_uid()) for scope in scopes)
    telling = asyncio.create_task(_tell(shared, wanted, timeout_s))
    await asyncio.sleep(0)  # Redis is asked before the disk is waited for
    made = list(wanted)
    folder_fault = await _written(latch, partial(_set_all, latch, made), done_by)
    shared_fault = await telling
    if shared is not None and not shared_fault and not folder_fault:
        folder_fault = await _written(latch, partial(_note_shared, latch, wanted), done_by)
    return HaltsSet(tuple(made), folder_fault, shared_fault)


async def _written(latch: FileHaltLatch, work: Callable[[], str], done_by: DoneBy) -> str:
    """Write in the state folder; why that failed, if so. What takes too long is not waited for, and may still be done.

    A stop's cancels wait for it.
    """
    writing = asyncio.ensure_future(done_by(work))
    await asyncio.wait((writing,), timeout=FOLDER_TIMEOUT_S)
    if writing.done():
        return writing.result()
    return f"the halt file {latch.path} was not written within {FOLDER_TIMEOUT_S:g} s: its disk hangs"


def _set_all(latch: FileHaltLatch, halts: list[Halt]) -> str:
    """Write them down, each in its place with its number; why one could not be, if so."""
    fault = ""
    for place, halt in enumerate(halts):
        try:
            halts[place] = latch.set(halt.scope, by=halt.by, at_ms=halt.at_ms, why=halt.why, uid=halt.uid)
        except StateUnreadable as error:
            fault = fault or str(error)
    return fault


async def share(
    latch: FileHaltLatch,
    shared: Shared,
    halts: HaltsSet,
    timeout_s: float = SHARED_TIMEOUT_S,
    done_by: DoneBy = at_once,
) -> HaltsSet:
    """Set halts in Redis that were set in the state folder, or should have been. Never raises for what a place does."""
    fault = await _tell(shared, halts.halts, timeout_s)
    noted = ""
    if not fault and not halts.folder_fault:
        noted = await _written(latch, partial(_note_shared, latch, halts.halts), done_by)
    return replace(halts, shared_fault=fault, folder_fault=halts.folder_fault or noted)


def _note_shared(latch: FileHaltLatch, halts: Sequence[Halt]) -> str:
    """Note that they are in Redis; why that could not be noted, if so."""
    try:
        latch.note_shared([halt.uid for halt in halts])
    except StateUnreadable as error:
        return str(error)
    return ""


async def _tell(shared: Shared | None, halts: Sequence[Halt], timeout_s: float) -> str:
    """Set the halts in Redis; why not, if so."""
    if shared is None:
        return ""
    try:
        async with asyncio.timeout(timeout_s):
            await shared.set(halts)
    except TimeoutError:
        return f"{shared.where} did not answer within {timeout_s:g} s"
    except SharedUnreadable as error:
        return str(error)
    return ""


async def halts_everywhere(
    latch: FileHaltLatch, shared: Shared | None, *, timeout_s: float = SHARED_TIMEOUT_S
) -> tuple[tuple[Halt, ...], tuple[str, ...]]:
    """The halts in force in either place, each once, and why a place could not be read, for each such place."""
    faults: list[str] = []
    here: tuple[Halt, ...] = ()
    try:
        here = latch.readable()
        latch.halts()
    except StateUnreadable as error:
        faults.append(str(error))
    view, fault = await _view(shared, timeout_s)
    if fault:
        faults.append(fault)
    if view.rubbish and shared is not None:
        faults.append(rubbish_in(shared, view))
    known = {halt.uid for halt in here}
    left = [halt for halt in here if halt.uid not in view.lifted]
    others = [one for uid, one in view.halts.items() if uid not in known and uid not in view.lifted]
    return (*left, *others), tuple(faults)


async def resume_everywhere(
    latch: FileHaltLatch,
    shared: Shared | None,
    chosen: Callable[[Halt], bool],
    *,
    by: str,
    at_ms: int,
    accounts: Sequence[tuple[str, str]] = (),
    timeout_s: float = SHARED_TIMEOUT_S,
) -> Resumed:
    """Lift the halts in force that ``chosen`` picks, in both places, and mend rubbish in either.

    A halt that is known to be in Redis is not lifted here without it: other hosts would still be halted, and it would
    come back. Raises ``StateUnreadable`` where the state folder cannot be read or written, and ``PairHeld`` where a
    stop sweeps one of ``accounts``, each a venue and an account, by what Redis says.
    """
    view, fault = await _view(shared, timeout_s)
    if shared is None:
        fault = "it is in Redis too, and no Redis is configured: set MMCTL_REDIS_URL"
    elif not fault:
        here = [halt for halt in latch.readable() if chosen(halt)]
        there = [one for uid, one in view.halts.items() if uid not in view.lifted and chosen(one)]
        uids = list(dict.fromkeys(halt.uid for halt in (*here, *there)))
        try:
            async with asyncio.timeout(timeout_s):
                await _refuse_beside_a_stop(shared, accounts)
            if uids or view.rubbish:
                async with asyncio.timeout(timeout_s):
                    await shared.lift(uids, by=by, at_ms=at_ms)
            lifted = latch.resume(lambda halt: halt.uid in uids, by=by, at_ms=at_ms)
            known = {halt.uid for halt in lifted}
            return Resumed((*lifted, *(halt for halt in there if halt.uid not in known)))
        except TimeoutError:
            fault = f"{shared.where} did not answer within {timeout_s:g} s"
        except SharedUnreadable as error:
            fault = str(error)
    in_redis = latch.shared()
    lifted = latch.resume(lambda halt: halt.uid not in in_redis and chosen(halt), by=by, at_ms=at_ms)
    left = tuple(halt for halt in latch.halts() if chosen(halt))
    return Resumed(lifted, left, fault if left or shared is not None else "")


async def _refuse_beside_a_stop(shared: Shared, accounts: Sequence[tuple[str, str]]) -> None:
    for venue, account in accounts:
        if names := await shared.stops(venue, account):
            said = f"a stop is sweeping {venue}, account {account}, by {shared.where}: {', '.join(names)}"
            raise PairHeld(said, "resume when it has ended")


async def _view(shared: Shared | None, timeout_s: float) -> tuple[SharedHalts, str]:
    nothing = SharedHalts({}, {})
    if shared is None:
        return nothing, ""
    try:
        async with asyncio.timeout(timeout_s):
            return await shared.halts(), ""
    except TimeoutError:
        return nothing, f"{shared.where} did not answer within {timeout_s:g} s"
    except SharedUnreadable as error:
        return nothing, str(error)


def rubbish_in(shared: Shared, view: SharedHalts) -> str:
    """What to say of rubbish among the halts in Redis."""
    return (
        f"{shared.where} has something that is no halt among its halts: {view.rubbish[0]!r} (`mmctl resume` mends it)"
    )
