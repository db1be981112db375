"""Which engines there are, as somebody else sees them: a stop, ``status``, the guard, an engine that starts.

A record of this boot of this machine, or from before it, whose lock can be had is of a dead engine, ``kill -9`` and
all. The lock file says when it last signed a placement, on the clock that counts suspended time: that outlives the
engine too. A record is never believed for more than it says: what cannot be read is ``unreadable``, and an engine.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mmctl.engine.records import FOLDER, SIGNED, EngineRecord, decoded, stem, this_machine
from mmctl.ports import Clock

MOST_BYTES = 1 << 20
"""No record is longer; what is, is rubbish."""

IN_FOLDER = "state folder"


class Life(StrEnum):
    """What is known of an engine: ``live`` may be hung or out of reach, ``dead`` is proven.

    ``ended`` said itself that it ended in good order: it is no engine any more, and its record no more than that word.
    """

    LIVE = "live"
    DEAD = "dead"
    ENDED = "ended"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class EngineState:
    """An engine as somebody else sees it, ``name`` for people.

    ``age_s`` is the age of its record, ``progress_age_s`` the time since the slowest of its pairs got on, and
    ``signed_age_s`` the time since it last signed a placement, at least so long; each ``None`` where it is unknown.
    ``detail`` says what is wrong with it.
    """

    name: str
    life: Life
    record: EngineRecord | None = None
    age_s: float | None = None
    progress_age_s: float | None = None
    signed_age_s: float | None = None
    detail: str = ""
    where: str = IN_FOLDER
    stands_for_all: bool = False
    """Whether it is a place that cannot be read, with all the engines that it may know of."""

    @property
    def epoch(self) -> int | None:
        return None if self.record is None else self.record.epoch

    def acknowledged(self, uids: Collection[str]) -> bool:
        """Whether it said of every halt of ``uids`` that it has seen it: then it places nothing in their scope."""
        return self.record is not None and set(uids) <= set(self.record.acknowledged)

    @property
    def landed(self) -> bool:
        """Whether it is dead and nothing that it placed can still appear."""
        record = self.record
        if self.life is not Life.DEAD or record is None or self.signed_age_s is None:
            return False
        if self.signed_age_s >= record.landing_time_s:
            return True
        # Its last record was written after its last signature, and said that everything was answered.
        return self.age_s is not None and self.age_s < self.signed_age_s and record.unanswered() == 0


def engines(state_dir: Path, venue: str, account: str, clock: Clock, *, ended: bool = False) -> list[EngineState]:
    """Every engine of the account that the state folder knows of, by epoch; never raises for what lies there.

    Those that ended in good order are left out unless ``ended``: who saw one before wants to know where it went.
    A folder that is missing has none; one that cannot be read is one ``unreadable`` engine, for there may be some.
    """
    folder = state_dir / FOLDER
    try:
        found = [state for path in _paths(folder, venue, account) if (state := read(path, clock, venue, account))]
    except FileNotFoundError:
        return []
    except OSError as error:
        return [unreadable_folder(folder, error.strerror or str(error))]
    left = [state for state in found if ended or state.life is not Life.ENDED]
    return sorted(left, key=lambda state: (state.epoch or 0, state.name))


def unreadable_folder(folder: Path, why: str) -> EngineState:
    """All engines that ``folder`` may know of."""
    return EngineState(str(folder), Life.UNREADABLE, detail=f"{folder} cannot be read: {why}", stands_for_all=True)


def read(path: Path, clock: Clock, venue: str, account: str) -> EngineState | None:
    """The engine of one record; ``None`` where the record is gone meanwhile, or is of another account."""
    try:
        record, fault = decoded(_content(path)), ""
    except FileNotFoundError:
        return None
    except OSError as error:
        record, fault = None, f"{path} cannot be read: {error.strerror}"
    except ValueError:
        record, fault = None, f"{path} is not an engine's record: remove it where no engine runs"
    if record is None:
        return EngineState(path.stem, Life.UNREADABLE, detail=fault)
    if (record.venue, record.account) != (venue, account):
        return None
    name = f"engine {record.epoch} (pid {record.pid} on {record.host})"
    if record.ended:
        age_s = _age_s(record.written_s, record.written_ms, clock, here=_same_boot(record))
        return EngineState(name, Life.ENDED, record, age_s=age_s)
    held, signed_s, fault = lock_of(path.with_suffix(".lock"))
    here = _same_boot(record)
    if not held and not fault and not here and not _before_boot(record, clock):
        # A folder that machines share: the lock of another one, or of a container of this name there, may not be seen.
        fault = f"it is on {record.host}, of another boot, and from here nobody can tell whether it lives"
    age_s = _age_s(record.written_s, record.written_ms, clock, here=here)
    progress = min(((pair.progress_s, pair.progress_ms) for pair in record.pairs), default=None)
    return EngineState(
        name,
        Life.LIVE if held else Life.UNREADABLE if fault else Life.DEAD,
        record,
        age_s=age_s,
        progress_age_s=None if progress is None else _age_s(*progress, clock, here=here),
        # After a boot of this machine it cannot have signed for as long as that was ago.
        signed_age_s=None if fault else max(0.0, clock.boot_s() - signed_s) if here else clock.boot_s(),
        detail=fault,
    )


def seen_elsewhere(data: bytes, clock: Clock, venue: str, account: str, *, where: str) -> EngineState | None:
    """The engine of a record that was read from Redis; ``None`` where it is of another account.

    Nobody can prove from here that it is dead: it is ``live``, and ``age_s`` tells since when it is silent, by the two
    machines' wall clocks.
    """
    try:
        record = decoded(data)
    except ValueError:
        return EngineState("an engine", Life.UNREADABLE, detail=f"{where} has an engine's record that is none")
    if (record.venue, record.account) != (venue, account):
        return None
    here = _same_boot(record)
    progress = min(((pair.progress_s, pair.progress_ms) for pair in record.pairs), default=None)
    return EngineState(
        f"engine {record.epoch} (pid {record.pid} on {record.host})",
        Life.ENDED if record.ended else Life.LIVE,
        record,
        age_s=_age_s(record.written_s, record.written_ms, clock, here=here),
        progress_age_s=None if progress is None else _age_s(*progress, clock, here=here),
        where=where,
    )


def merged(folder: Collection[EngineState], elsewhere: Collection[EngineState]) -> list[EngineState]:
    """Both together: an engine of this folder is told of once, for here its death can be proven."""
    known = {(one.record.host, one.record.epoch) for one in folder if one.record is not None}
    others = [one for one in elsewhere if one.record is None or (one.record.host, one.record.epoch) not in known]
    return [*folder, *others]


def _paths(folder: Path, venue: str, account: str) -> Iterator[Path]:
    before, after = f"{stem(venue, account)}-", ".json"
    for name in sorted(os.listdir(folder)):
        if name.startswith(before) and name.endswith(after) and name[len(before) : -len(after)].isdecimal():
            yield folder / name


def _content(path: Path) -> bytes:
    """What the file holds. Raises ``OSError``, and ``ValueError`` for what is no plain file of a record's size."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("no plain file")
        if status.st_size > MOST_BYTES:
            raise ValueError("too long")
        return os.read(descriptor, status.st_size)  # a record is never written to, only replaced
    finally:
        os.close(descriptor)


def lock_of(path: Path) -> tuple[bool, float, str]:
    """Whether the lock is held, when a placement was last signed, and why neither is known, if so."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        return False, 0.0, f"its lock {path} cannot be read: {error.strerror}"
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        held, fault = False, ""
    except BlockingIOError:
        held, fault = True, ""
    except OSError as error:
        held, fault = False, f"its lock {path} cannot be tried: {error.strerror}"
    try:
        (signed_s,) = SIGNED.unpack(os.pread(descriptor, SIGNED.size, 0))
    except (OSError, struct.error):
        signed_s, fault = 0.0, fault or f"its lock {path} does not say when it last placed"
    finally:
        os.close(descriptor)
    return held, signed_s, fault


def _same_boot(record: EngineRecord) -> bool:
    """Whether the record's clock is this machine's: containers on one kernel share it, whatever they are called."""
    host, boot_id = this_machine()
    return record.boot_id == boot_id if boot_id else record.host == host


def _before_boot(record: EngineRecord, clock: Clock) -> bool:
    """Whether the record is of this machine, by its name, and nobody has written it since this boot."""
    return record.host == this_machine()[0] and record.written_ms < clock.wall_ms() - 1000 * clock.boot_s()


def _age_s(at_s: float, at_ms: int, clock: Clock, *, here: bool) -> float:
    return max(0.0, clock.boot_s() - at_s if here else (clock.wall_ms() - at_ms) / 1000)
