"""One Redis server, asked in a bounded time, and every way it can fail as one line for the operator.

redis-py is imported when a link is made, not before: it costs more than the rest of the start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mmctl.errors import FeedUnreachable, UsageError
from mmctl.wire.redis_address import ADDRESS_FORM, secrets_of, server_of


class RedisLink:
    """A server, and how connections to it are made; ``timeout_s`` bounds each connect.

    There are no retries: they would only hide how long it took. Raises ``UsageError`` for an address that
    is none, and connects to nothing yet.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self.where = server_of(url)
        self._secrets = secrets_of(url)
        import hiredis
        import redis.asyncio
        import redis.asyncio.retry
        import redis.backoff
        import redis.exceptions

        self.errors = redis.exceptions
        self.pack: Any = hiredis.pack_command
        pool_class: Any = redis.asyncio.ConnectionPool
        self.pool: Any = pool_class.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0),
            protocol=2,  # spares the HELLO; MGET's reply is the same
        )
        try:
            self.pool.make_connection()
        except (TypeError, ValueError, redis.exceptions.RedisError):
            raise UsageError(
                f"the Redis address of {self.where} has an option that does not fit", ADDRESS_FORM
            ) from None

    def silent(self, timeout_s: float) -> FeedUnreachable:
        """What to raise when a deadline has passed."""
        return FeedUnreachable(
            f"Redis at {self.where} did not answer within {timeout_s:g} s", "is it overloaded, or the network slow?"
        )

    def unreachable(self, error: Exception) -> FeedUnreachable:
        """One line for one failure; the order goes from the special to the general."""
        text, errors = " ".join(str(error).split()), self.errors
        for secret in self._secrets:
            text = text.replace(secret, "***")
        if isinstance(error, errors.BusyLoadingError):
            return FeedUnreachable(f"Redis at {self.where} is still loading its data", "wait, it is asked again")
        if isinstance(error, (errors.NoPermissionError, errors.AuthorizationError)):
            return FeedUnreachable(
                f"Redis at {self.where} does not permit this user to read the books",
                "let its ACL allow MGET on *_depth*",
            )
        if isinstance(error, errors.AuthenticationError):
            return self._unauthenticated()
        if isinstance(error, (errors.TimeoutError, TimeoutError)):
            return FeedUnreachable(
                f"Redis at {self.where} did not answer in time", "is it overloaded, or the network slow?"
            )
        if isinstance(error, (errors.ResponseError, errors.InvalidResponse)):
            return FeedUnreachable(
                f"Redis at {self.where} refused to read: {text}", "is that address Redis's, with this database number?"
            )
        return FeedUnreachable(
            f"Redis at {self.where} cannot be reached: {text}", "start Redis, or mend --redis-url or MMCTL_REDIS_URL"
        )

    def _unauthenticated(self) -> FeedUnreachable:
        if self._secrets:
            return FeedUnreachable(
                f"Redis at {self.where} does not accept this user and password", "mend them in the Redis address"
            )
        return FeedUnreachable(f"Redis at {self.where} wants a password", "write redis://:PASSWORD@HOST:PORT/DB")


class RedisLine:
    """One connection to the server of ``link``, made when first needed and again whenever it was lost.

    It speaks on redis-py's connection itself: for a command as short as a read of one book, the client's
    and the pool's layers above it would take half of the time. One caller speaks at a time, and bounds the
    time by ``asyncio.timeout``: timers of the socket's own beneath that would be set twice for each command.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._connection: Any = link.pool.make_connection()
        self._connection.socket_timeout = None
        self._turn = asyncio.Lock()

    async def mget(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of ``keys``, in one command. Raises ``FeedUnreachable``."""
        connection = self._connection
        try:
            async with self._turn:
                # Connects, also where the server has closed since: such a line has an end of file to read.
                await self._link.pool.ensure_connection(connection)
                # Both close the connection when they fail or are cancelled, so no late reply meets another question.
                await connection.send_packed_command(self._link.pack(("MGET", *keys)))
                reply = await connection.read_response()
        except (self._link.errors.RedisError, OSError) as error:
            raise self._link.unreachable(error) from error
        if not isinstance(reply, list) or len(reply) != len(keys):
            await self.close()
            raise FeedUnreachable(f"{self._link.where} does not answer as Redis does", "is that port Redis's?")
        return reply

    async def close(self) -> None:
        """Close the connection. Never raises."""
        with suppress(self._link.errors.RedisError, OSError):
            await self._connection.disconnect()
