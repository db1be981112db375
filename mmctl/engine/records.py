"""What each engine says of itself in the state folder, and in Redis.

An engine keeps one record an account, ``engines/<venue>-<account>-<epoch>.json``, and holds the lock file beside it for
as long as it lives. ``registered.py`` reads what others wrote.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec

from mmctl.core.order import MAX_EPOCH, Layer

FOLDER = "engines"
SIGNED = struct.Struct("<d")
"""What a lock file holds: when a placement was last signed, in seconds of the clock that counts suspended time."""

LATEST_MS = 1 << 53
"""No time is later: what is, is rubbish, and may be too large to be reckoned with."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """One layer of a pair. ``unanswered`` placements have no answer yet, or none that tells; ``resting`` are open."""

    layer: Layer
    interval_s: float
    status: str = ""
    resting: int = 0
    unanswered: int = 0


@dataclass(frozen=True, slots=True)
class PairRecord:
    """One pair. ``progress_s`` is when its quoting loop last got on, on the clock that counts suspended time.

    ``held`` is why none of its layers may place, empty while one may.
    """

    name: str
    symbol: str
    layers: tuple[LayerRecord, ...]
    progress_ms: int = 0
    progress_s: float = 0.0
    held: str = ""


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """What one engine says of one account.

    ``written_s`` is on the clock that counts suspended time of the machine ``host``, as booted under ``boot_id``;
    ``beat`` grows with every writing. ``acknowledged`` are the ``uid`` of the halts in force that it has read: while a
    record names one, no placement in its scope leaves. ``held`` is why nothing may be placed, empty while all may.
    ``ended`` is the last word of an engine that ended in good order: nothing that was to go rests, all was answered.
    """

    venue: str
    account: str
    user_id: str | None
    epoch: int
    host: str
    boot_id: str
    pid: int
    version: str
    mode: str
    landing_time_s: float
    started_ms: int
    written_ms: int
    written_s: float
    beat: int
    pairs: tuple[PairRecord, ...] = ()
    acknowledged: tuple[str, ...] = ()
    held: str = ""
    ended: bool = False

    @property
    def interval_s(self) -> float:
        """The longest interval of its layers, in seconds."""
        return max((layer.interval_s for pair in self.pairs for layer in pair.layers), default=0.0)

    def unanswered(self, layer: Layer | None = None, symbols: Collection[str] | None = None) -> int:
        """Its placements without an answer that tells, of ``layer`` (both: ``None``) and ``symbols`` (all)."""
        return sum(one.unanswered for one in self._layers(layer, symbols))

    def left(self, layer: Layer | None = None, symbols: Collection[str] | None = None) -> int:
        """Its orders that are not over as far as it knows, in the same scope: a listing that lags may not show them."""
        return sum(one.resting + one.unanswered for one in self._layers(layer, symbols))

    def _layers(self, layer: Layer | None, symbols: Collection[str] | None) -> Iterator[LayerRecord]:
        for pair in self.pairs:
            if symbols is None or pair.symbol in symbols:
                yield from (one for one in pair.layers if layer in (None, one.layer))


@lru_cache(maxsize=1)
def this_machine() -> tuple[str, str]:
    """Name of this machine, and of its present boot (empty where the system has none)."""
    try:
        boot_id = _BOOT_ID.read_text().strip()
    except OSError:
        boot_id = ""
    return socket.gethostname(), boot_id


def record_path(state_dir: Path, venue: str, account: str, epoch: int) -> Path:
    """Where the record of an engine is; its lock file ends with ``.lock`` instead."""
    return state_dir / FOLDER / f"{stem(venue, account)}-{epoch}.json"


def decoded(data: bytes) -> EngineRecord:
    """The record. Raises ``ValueError`` for what is none, or tells of a time or an epoch that cannot be."""
    try:
        record = _DECODER.decode(data)
    except RecursionError:
        raise ValueError("nested without end") from None
    times_ms = [record.started_ms, record.written_ms, *(pair.progress_ms for pair in record.pairs)]
    if not (0 <= record.epoch <= MAX_EPOCH and all(0 <= one <= LATEST_MS for one in times_ms)):
        raise ValueError("an epoch or a time that cannot be")
    return record


def encoded(record: EngineRecord) -> bytes:
    return _ENCODER.encode(record)


def stem(venue: str, account: str) -> str:
    """How the file names of an account begin; accounts may share one, so the record counts."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", f"{venue}-{account}")[:100]


_DECODER = msgspec.json.Decoder(EngineRecord)
_ENCODER = msgspec.json.Encoder()
