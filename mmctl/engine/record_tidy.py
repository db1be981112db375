"""Which records in the state folder are of no use any more, and how they go."""

from __future__ import annotations

from pathlib import Path

from mmctl.engine.records import FOLDER, record_path
from mmctl.engine.registered import Life, engines, lock_of
from mmctl.ports import Clock

KEEP_DEAD_S = 86_400.0
"""How long the record of a dead engine is kept: a stop asks only for its landing time, people for yesterday."""

KEEP_ENDED_S = 300.0
"""How long the last word of an engine that ended in good order is kept: a guard may look elsewhere for a while."""

MOST_OVER = 100
"""How many records of engines of one account that are over are kept at most; the oldest go first."""


def remove_old(state_dir: Path, venue: str, account: str, clock: Clock) -> None:
    """Remove records that are of no use: of engines that are dead or ended, and of others' machines long silent.

    Never raises. Rubbish stays for a person to see.
    """
    over = 0
    for state in reversed(engines(state_dir, venue, account, clock, ended=True)):
        if state.life is Life.LIVE or state.record is None:
            continue
        over += state.life in (Life.DEAD, Life.ENDED)
        done, age_s = state.landed or state.life is Life.ENDED, state.age_s or 0.0
        too_many = done and over > MOST_OVER
        too_old = age_s > KEEP_DEAD_S and (done or state.life is Life.UNREADABLE)
        too_old |= age_s > KEEP_ENDED_S and state.life is Life.ENDED
        if too_many or too_old:
            remove(record_path(state_dir, venue, account, state.record.epoch))
    _remove_leftovers(state_dir / FOLDER, clock)


def _remove_leftovers(folder: Path, clock: Clock) -> None:
    """Locks without a record: their engines died before they had written one."""
    try:
        for lock in folder.glob("*.lock"):
            old = clock.wall_ms() / 1000 - lock.lstat().st_mtime > KEEP_DEAD_S
            if old and not lock.with_suffix(".json").exists() and not lock_of(lock)[0]:
                remove(lock.with_suffix(".json"))
    except OSError:  # another engine that starts has just done the same
        return


def remove(path: Path) -> None:
    """Remove a record and its lock. Never raises: what stays is read again, and told."""
    for one in (path, *(path.with_suffix(end) for end in (".new", ".last", ".lock"))):
        try:
            one.unlink(missing_ok=True)
        except OSError:
            return
