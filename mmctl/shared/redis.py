"""What hosts share, in one Redis: a list of halt and resume records, engines' records, leases, the newest epoch.

The list of halts is only ever appended to: a missing key lifts nothing. Leases are redis-py's locks. Nothing is tried
twice: who asks knows how old what it knows is, and holds placements meanwhile.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from mmctl.errors import SharedAway, SharedUnreadable, UsageError
from mmctl.ports import Halt, Ownership, SharedHalts
from mmctl.shared import scripts
from mmctl.shared.halt_lines import halt_line, parsed, resume_line
from mmctl.wire.redis_address import ADDRESS_FORM, secrets_of, server_of

HALTS = "mmctl:halts"
CHANNEL = "mmctl:changed"
ACCOUNTS = "mmctl:accounts"
TIMEOUT_S = 0.8
"""How long one question may take: a view of halts older than a second holds placements."""

KEEP_RECORD_S = 900
"""How long the record of an engine that does not write any more is kept: far longer than any landing time."""

KEEP_ENDED_S = 300
"""How long it is kept that an engine ended in good order: a guard may not see Redis for a while."""

LISTEN_S = 5.0

T = TypeVar("T")


class RedisShared:
    """``mmctl.ports.Shared`` in the Redis at ``url``. Connects to nothing yet.

    Raises ``UsageError`` for an address that is none.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        import redis.asyncio
        import redis.asyncio.lock
        import redis.asyncio.retry
        import redis.backoff
        import redis.exceptions

        self.where = f"Redis at {server_of(url)}"
        self._secrets = secrets_of(url)
        self._errors = redis.exceptions
        self._lock_class: Any = redis.asyncio.lock.Lock
        self._timeout_s = timeout_s
        # redis-py's own defaults would try ten times, and wait five seconds each.
        try:
            self._client: Any = redis.asyncio.Redis.from_url(
                url,
                # Ours is around each question. Beneath it redis-py's would be asyncio.wait_for, which on Python 3.11
                # loses a cancel that comes as the command has just been written: whoever waits for the end waits on.
                socket_timeout=None,
                socket_connect_timeout=timeout_s,
                retry=redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0),
            )
            pool: Any = self._client.connection_pool
            pool.make_connection()
        except (TypeError, ValueError, redis.exceptions.RedisError):
            said = f"the Redis address of {server_of(url)} has an option that does not fit"
            raise UsageError(said, ADDRESS_FORM) from None
        self._pubsub: Any = None
        self._lines: list[bytes] = []
        self._known = SharedHalts({}, {})

    async def halts(self) -> SharedHalts:
        """Everything about halts; what was read before is not read again while the list only grew."""
        start = max(0, len(self._lines) - 1)
        lines = await self._ask(self._client.lrange(HALTS, start, -1))
        if start < len(self._lines) and lines[:1] != self._lines[start:]:
            # It was flushed, or mended: nobody knows what else is different.
            start, lines = 0, await self._ask(self._client.lrange(HALTS, 0, -1))
        fresh = [*self._lines[:start], *lines]
        if fresh != self._lines:
            self._lines, self._known = fresh, parsed(fresh)
        return self._known

    async def set(self, halts: Sequence[Halt]) -> None:
        await self._append([halt_line(halt) for halt in halts])

    async def lift(self, uids: Sequence[str], *, by: str, at_ms: int) -> None:
        rubbish = [line for line in await self._ask(self._client.lrange(HALTS, 0, -1)) if parsed([line]).rubbish]
        for line in rubbish:
            await self._ask(self._client.lrem(HALTS, 0, line))
        await self._append([resume_line(uids, by=by, at_ms=at_ms)])

    async def _append(self, lines: Sequence[str]) -> None:
        if lines:
            pipeline = self._client.pipeline(transaction=True)
            pipeline.rpush(HALTS, *lines)
            pipeline.publish(CHANNEL, "halts")
            await self._ask(pipeline.execute())

    async def changed(self) -> None:
        try:
            if self._pubsub is None:
                self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)
                await self._ask(self._pubsub.subscribe(CHANNEL))
            async with asyncio.timeout(LISTEN_S + self._timeout_s):
                await self._pubsub.get_message(ignore_subscribe_messages=True, timeout=LISTEN_S)
        except (self._errors.RedisError, OSError, SharedUnreadable) as error:
            await self._unsubscribe()
            raise self._unreadable(error) from error

    async def put(self, venue: str, account: str, epoch: int, record: bytes, *, ended: bool = False) -> None:
        key, index = _engine_key(venue, account, epoch), _account_key("engines", venue, account)
        pipeline = self._client.pipeline(transaction=True)
        pipeline.set(key, record, ex=KEEP_ENDED_S if ended else KEEP_RECORD_S)
        pipeline.sadd(index, epoch)
        pipeline.sadd(ACCOUNTS, _account_key("engines", venue, account))
        await self._ask(pipeline.execute())

    async def engines(self, venue: str, account: str) -> list[bytes]:
        index = _account_key("engines", venue, account)
        epochs = sorted(await self._ask(self._client.smembers(index)))
        if not epochs:
            return []
        records = await self._ask(
            self._client.mget([_engine_key(venue, account, epoch.decode(errors="replace")) for epoch in epochs])
        )
        gone = [epoch for epoch, record in zip(epochs, records, strict=True) if record is None]
        if gone:
            await self._ask(self._client.srem(index, *gone))
        return [record for record in records if record is not None]

    async def accounts(self) -> list[tuple[str, str]]:
        keys = sorted(await self._ask(self._client.smembers(ACCOUNTS)))
        names = [key.decode(errors="replace").split(":")[2:] for key in keys]
        return [(unquote(parts[0]), unquote(parts[1])) for parts in names if len(parts) == 2]

    async def reserve_epoch(self, venue: str, owner: str, floor: int) -> int:
        return int(await self._ask(self._client.eval(scripts.EPOCH, 1, _account_key("epoch", venue, owner), floor)))

    async def owners(self, names: Sequence[str]) -> list[Ownership]:
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.get(_key("lease", name))
            pipeline.pttl(_key("lease", name))
            pipeline.get(_key("owner", name))
        told = await self._ask(pipeline.execute())
        return [self._ownership(name, *told[3 * number : 3 * number + 3]) for number, name in enumerate(names)]

    def _ownership(self, name: str, token: bytes | None, left_ms: int, marker: bytes | None) -> Ownership:
        """Raises ``SharedUnreadable`` for a marker that is none: whose it was, and for how long, nobody knows."""
        holder, left_s = None if token is None else token.decode(errors="replace"), max(0, left_ms) / 1000
        if marker is None:
            return Ownership(holder, left_s)
        try:
            told = json.loads(marker)
            return Ownership(holder, left_s, str(told["token"]), float(told["lease_s"]), float(told["landing_time_s"]))
        except (ValueError, KeyError, TypeError) as error:
            key = _key("owner", name)
            raise SharedUnreadable(
                f"{self.where} has rubbish in {key}", f"make sure that no engine quotes that pair, then DEL {key}"
            ) from error

    async def take(self, name: str, token: str, lease_s: float) -> bool:
        return bool(await self._ask(self._lease(name, lease_s).acquire(token=token)))

    async def renew(self, name: str, token: str, lease_s: float) -> bool:
        lease = self._lease(name, lease_s)
        lease.local.token = token.encode()
        try:
            return bool(await self._ask(lease.extend(lease_s, replace_ttl=True)))
        except _NotOurs:
            return False

    async def mark(self, name: str, token: str, lease_s: float, landing_time_s: float) -> None:
        marker = json.dumps({"token": token, "lease_s": lease_s, "landing_time_s": landing_time_s})
        await self._ask(self._client.set(_key("owner", name), marker))

    async def release(self, name: str, token: str, *, settled: bool) -> None:
        (now,) = await self.owners([name])
        if now.token != token:
            return
        if settled and now.marker == token:
            await self._ask(self._client.delete(_key("owner", name)))
        lease = self._lease(name, 1.0)
        lease.local.token = token.encode()
        with suppress(_NotOurs):
            await self._ask(lease.release())

    async def mark_stop(self, venue: str, account: str, name: str, keep_s: float) -> None:
        key = _account_key("stopping", venue, account)
        await self._ask(self._client.eval(scripts.MARK_STOP, 1, key, name, round(1000 * keep_s)))

    async def stops(self, venue: str, account: str) -> list[str]:
        names = await self._ask(self._client.eval(scripts.STOPS, 1, _account_key("stopping", venue, account)))
        return [name.decode(errors="replace") for name in names]

    async def close(self) -> None:
        await self._unsubscribe()
        with suppress(self._errors.RedisError, OSError):
            await self._client.aclose()

    def _lease(self, name: str, lease_s: float) -> Any:
        return self._lock_class(self._client, _key("lease", name), timeout=lease_s, blocking=False, thread_local=False)

    async def _unsubscribe(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            with suppress(self._errors.RedisError, OSError):
                await pubsub.aclose()

    async def _ask(self, question: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await question
        except self._errors.LockNotOwnedError as error:
            raise _NotOurs from error
        except (self._errors.RedisError, OSError) as error:  # a time-out of asyncio's is an OSError too
            unreadable = self._unreadable(error)
            if isinstance(unreadable, SharedAway):
                # What else is connected is as dead: it would fail once more when the server is back.
                with suppress(self._errors.RedisError, OSError):
                    await self._client.connection_pool.disconnect(inuse_connections=False)
            raise unreadable from error

    def _unreadable(self, error: Exception) -> SharedUnreadable:
        if isinstance(error, SharedUnreadable):
            return error
        text = " ".join(str(error).split()) or f"no answer within {self._timeout_s:g} s"
        for secret in self._secrets:
            text = text.replace(secret, "***")
        said = f"{self.where} cannot be asked: {text}"
        if isinstance(error, (self._errors.ConnectionError, self._errors.TimeoutError, OSError)):
            return SharedAway(said, "start Redis, or mend --redis-url, MMCTL_REDIS_URL or [redis] url")
        return SharedUnreadable(said, "mend what is there, or the permissions of this user")


class _NotOurs(Exception):
    """The lease is somebody else's, or nobody's."""


def _key(kind: str, *parts: str) -> str:
    return ":".join(("mmctl", kind, *parts))


def _engine_key(venue: str, account: str, epoch: int | str) -> str:
    return f"{_account_key('engine', venue, account)}:{epoch}"


def _account_key(kind: str, venue: str, account: str) -> str:
    return _key(kind, quote(venue, safe=""), quote(account, safe=""))
