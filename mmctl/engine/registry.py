"""All engines of one account as somebody else sees them: those of the state folder now, those in Redis as last read."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from mmctl.engine.records import FOLDER, decoded
from mmctl.engine.registered import EngineState, Life, engines, merged, seen_elsewhere, unreadable_folder
from mmctl.errors import SharedUnreadable
from mmctl.ports import Clock, Shared

READ_EVERY_S = 0.2


def accounts_known(state_dir: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """The accounts of which the state folder has an engine's record, and a line for each that cannot be read."""
    folder = state_dir / FOLDER
    found: dict[tuple[str, str], None] = {}
    faults: list[str] = []
    try:
        paths = sorted(folder.glob("*.json"))
        for path in paths:
            try:
                record = decoded(path.read_bytes())
                if not record.ended:
                    found[record.venue, record.account] = None
            except FileNotFoundError:
                continue
            except ValueError:
                faults.append(f"{path} is not an engine's record: remove it where no engine runs")
    except OSError as error:
        faults.append(f"{error.filename or folder} cannot be read: {error.strerror}")
    return list(found), faults


class Registry:
    """``where`` names the Redis that is configured, empty where none is.

    Until Redis was read, and while it cannot be, there is one engine more: whoever is in there, and cannot be reached.
    """

    def __init__(self, state_dir: Path, venue: str, account: str, clock: Clock, where: str = "") -> None:
        self._state_dir = state_dir
        self._account = (venue, account)
        self._clock = clock
        self._where = where
        self._elsewhere = [self._unread("it was not asked yet")] if where else []
        self._had_folder = False

    def now(self, *, ended: bool = False) -> list[EngineState]:
        """Every engine that is known of; with ``ended`` those too that ended in good order a moment ago."""
        both = merged(self._in_folder(), self._elsewhere)
        return [state for state in both if ended or state.life is not Life.ENDED]

    def _in_folder(self) -> list[EngineState]:
        folder = self._state_dir / FOLDER
        there = os.path.isdir(folder)
        if self._had_folder and not there:  # nobody takes it away; a disk that is not mounted any more does
            return [unreadable_folder(folder, "it is not there any more")]
        self._had_folder = there
        return engines(self._state_dir, *self._account, self._clock, ended=True)

    async def read(self, shared: Callable[[], Awaitable[Shared | None]]) -> None:
        """Read what Redis has now. Never raises for what it does."""
        if not self._where:
            return
        try:
            place = await shared()
            records = [] if place is None else await place.engines(*self._account)
        except SharedUnreadable as error:
            self._elsewhere = [self._unread(str(error))]
            return
        seen = [seen_elsewhere(record, self._clock, *self._account, where=self._where) for record in records]
        self._elsewhere = [one for one in seen if one is not None]

    async def keep_reading(self, shared: Callable[[], Awaitable[Shared | None]]) -> None:
        """Read it again and again, until cancelled."""
        while self._where:
            await self.read(shared)
            await self._clock.sleep(READ_EVERY_S)

    def _unread(self, why: str) -> EngineState:
        return EngineState(
            "engines on other hosts", Life.UNREADABLE, detail=why, where=self._where, stands_for_all=True
        )
