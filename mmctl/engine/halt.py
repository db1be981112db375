"""The halt latch in the state folder: numbered records that only a resume record lifts.

``halts.jsonl`` holds one JSON record a line and is only ever appended to, under a file lock. What cannot be
read holds all placements; a halt file that lost records it once had is as good as unreadable, for a missing
record must never lift a halt.

Each halt has a ``uid`` beside its number: by that it is the same halt in other state folders and in Redis. A line with
``shared`` notes which halts are known to be in Redis: those are never lifted here alone.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import secrets
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmctl.core import halt_words
from mmctl.engine.lock import locked, mend
from mmctl.errors import StateUnreadable
from mmctl.ports import Halt, HaltScope

FILE_NAME = "halts.jsonl"


@dataclass(frozen=True, slots=True)
class _Records:
    halts: dict[int, Halt]
    lifted: frozenset[int]
    newest: int
    rubbish: tuple[int, ...]
    """Line numbers that could not be understood."""
    shared: frozenset[str] = frozenset()
    in_force: tuple[Halt, ...] = ()
    """What nobody has lifted, oldest first."""


class FileHaltLatch:
    """Halts of one state folder. Reading costs one ``stat`` while nothing changes.

    One thread may write while another reads: what was read is kept as a whole.
    """

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / FILE_NAME
        self._name = os.fspath(self.path)
        self._newest: tuple[tuple[int, int, int] | None, _Records] = (None, _Records({}, frozenset(), 0, ()))
        """What the file was like when it was last read, and what it held."""
        self._seen: Mapping[int, Halt] = {}
        """All halts that this object ever read, lifted ones too."""

    def halts(self) -> tuple[Halt, ...]:
        """The halts in force now, oldest first.

        Raises ``StateUnreadable`` where the file cannot be read, holds rubbish, or has lost records.
        """
        records = self._read()
        if records.rubbish:
            raise StateUnreadable(
                f"line {records.rubbish[0]} of {self.path} is not a halt record", "`mmctl resume` mends it"
            )
        return records.in_force

    def readable(self) -> tuple[Halt, ...]:
        """The halts in force that can be understood, whatever else is in the file. Raises ``StateUnreadable``."""
        return self._read().in_force

    def lifted(self) -> frozenset[str]:
        """The ``uid`` of every halt that a resume record here lifted. Raises ``StateUnreadable``."""
        records = self._read()
        return frozenset(halt.uid for number, halt in records.halts.items() if number in records.lifted)

    def shared(self) -> frozenset[str]:
        """The ``uid`` of every halt that is known to be in Redis too. Raises ``StateUnreadable``."""
        return self._read().shared

    def set(self, scope: HaltScope, *, by: str, at_ms: int, why: str, uid: str | None = None) -> Halt:
        """Append a halt, under a ``uid`` of its own unless one is given.

        Raises ``StateUnreadable`` where it cannot be written down.
        """
        with self._locked():
            halt = Halt(self._read().newest + 1, scope, by, at_ms, why, uid or new_uid())
            self._append(_halt_json(halt))
        return halt

    def copy(self, halts: Sequence[Halt]) -> tuple[Halt, ...]:
        """Append those of ``halts`` that this folder never knew; all of them are in Redis.

        Returns what was new. One that was lifted here stays lifted. Raises ``StateUnreadable``.
        """
        with self._locked():
            records = self._read()
            known = {halt.uid for halt in records.halts.values()}
            added = tuple(
                replace(halt, number=number)
                for number, halt in enumerate((one for one in halts if one.uid not in known), records.newest + 1)
            )
            for halt in added:
                self._append(_halt_json(halt))
            self._note_shared({halt.uid for halt in halts})
        return added

    def note_shared(self, uids: Collection[str]) -> None:
        """Note that the halts ``uids`` are in Redis now. Raises ``StateUnreadable``."""
        with self._locked():
            self._note_shared(uids)

    def lift(self, uid: str, *, by: str, at_ms: int) -> None:
        """Lift one halt, as a resume elsewhere did; rubbish stays for a person to see. Raises ``StateUnreadable``."""
        with self._locked():
            records = self._read()
            numbers = [halt.number for halt in records.in_force if halt.uid == uid]
            if numbers:
                self._append({"n": records.newest + 1, "resume": numbers, "by": by, "at_ms": at_ms})

    def _note_shared(self, uids: Collection[str]) -> None:
        records = self._read()
        fresh = sorted({halt.uid for halt in records.halts.values()} & set(uids) - records.shared)
        if fresh:
            self._append({"n": records.newest + 1, "shared": fresh})

    def resume(self, chosen: Callable[[Halt], bool], *, by: str, at_ms: int) -> tuple[Halt, ...]:
        """Lift the halts in force that ``chosen`` picks, and mend a file with rubbish in it.

        Returns what was lifted. Raises ``StateUnreadable`` where that cannot be written down.
        """
        with self._locked():
            records = self._read()
            if records.rubbish:
                self._mend(at_ms)
            lifted = tuple(halt for halt in records.in_force if chosen(halt))
            if lifted or records.rubbish:
                numbers = [halt.number for halt in lifted]
                self._append({"n": records.newest + 1, "resume": numbers, "by": by, "at_ms": at_ms})
        return lifted

    def _read(self) -> _Records:
        """The records, parsed again only where the file has changed."""
        known, records = self._newest
        try:
            status = os.stat(self._name)
            signature = (status.st_ino, status.st_size, status.st_mtime_ns)
            if signature == known:
                return records
            records = _parse(self.path.read_bytes())
        except FileNotFoundError:
            if known is None:
                return records  # there never was one
            signature, records = None, _Records({}, frozenset(), 0, ())
        except OSError as error:
            raise StateUnreadable(
                f"the halt file {self.path} cannot be read: {error.strerror}",
                "mend its permissions, or set MMCTL_STATE_DIR",
            ) from error
        if not records.rubbish and any(records.halts.get(number) != halt for number, halt in self._seen.items()):
            raise StateUnreadable(
                f"the halt file {self.path} has lost records", "put it back, or restart mmctl to accept it"
            )
        self._seen = {**self._seen, **records.halts}
        self._newest = (signature, records)
        return records

    def _append(self, record: dict[str, Any]) -> None:
        """Write one line, after whatever an earlier writer may have left without a line's end."""
        data = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        try:
            if self.path.exists() and self.path.read_bytes()[-1:] not in (b"", b"\n"):
                data = b"\n" + data
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                if os.write(descriptor, data) != len(data):
                    raise OSError(28, "the record was cut short")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._unwritable(error) from error

    def _mend(self, at_ms: int) -> None:
        """Keep the lines that are records, and all that there was in a file beside."""
        try:
            data = self.path.read_bytes()
            rubbish = _parse(data).rubbish
            good = [line + b"\n" for number, line in enumerate(data.splitlines(), start=1) if number not in rubbish]
            _write_whole(self.path.with_suffix(f".broken-{at_ms}"), data)
            mended = self.path.with_suffix(".new")
            _write_whole(mended, b"".join(good))
            os.replace(mended, self.path)  # at every moment there is a file: none would be no halt
        except OSError as error:
            raise self._unwritable(error) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with locked(self.path.with_suffix(".lock")):
                yield
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> StateUnreadable:
        return StateUnreadable(
            f"the halt file {self.path} cannot be written: {error.strerror}",
            mend(error),
        )


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that only its owner reads, to the disk. Raises ``OSError``."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def new_uid() -> str:
    """A name for a halt that no other has."""
    return secrets.token_hex(8)


def _halt_json(halt: Halt) -> dict[str, Any]:
    return {
        "n": halt.number,
        "uid": halt.uid,
        "halt": halt.scope.words(),
        "by": halt.by,
        "at_ms": halt.at_ms,
        "why": halt.why,
    }


def _parse(data: bytes) -> _Records:
    halts: dict[int, Halt] = {}
    lifted: set[int] = set()
    rubbish: list[int] = []
    shared: set[str] = set()
    newest = 0
    for line_number, line in enumerate(data.splitlines(), start=1):
        try:
            record = halt_words.record_of(line)
            number = halt_words.number(record, "n")
            if "resume" in record:
                lifted.update(halt_words.numbers(record["resume"]))
            elif "shared" in record:
                shared.update(halt_words.names(record["shared"]))
            else:
                halts[number] = _halt(number, record, line)
            newest = max(newest, number)
        except ValueError:
            rubbish.append(line_number)
    in_force = tuple(halt for number, halt in sorted(halts.items()) if number not in lifted)
    return _Records(halts, frozenset(lifted), newest, tuple(rubbish), frozenset(shared), in_force)


def _halt(number: int, record: dict[str, Any], line: bytes) -> Halt:
    return Halt(
        number,
        HaltScope(*halt_words.scope_of(record)),
        halt_words.text(record, "by"),
        halt_words.moment_ms(record),
        halt_words.text(record, "why"),
        # A line from before halts had names is named by what it says.
        halt_words.text(record, "uid") if "uid" in record else hashlib.sha256(line).hexdigest()[:16],
    )


def who() -> str:
    """Who acts: the user and the machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such user in this container
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
