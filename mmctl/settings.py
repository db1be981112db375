"""What comes from the environment: keys, the address of Redis, the state folder.

The environment wins over a file. A secret is a ``SecretStr`` from the moment it is read, and no message
here ever holds one. Pydantic, pydantic-settings and platformdirs are slow to import, so only what needs them does:
a stop needs none of the three.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mmctl.errors import UsageError
from mmctl.markets import VENUES, is_live, nearest
from mmctl.wire.binance_urls import LIVE, BinanceUrls, is_loopback
from mmctl.wire.redis_address import server_of

if TYPE_CHECKING:
    from pydantic import SecretStr

PROFILE_VARIABLE = "MMCTL_PROFILE"
REDIS_VARIABLE = "MMCTL_REDIS_URL"
STATE_VARIABLE = "MMCTL_STATE_DIR"
REST_VARIABLE = "MMCTL_BINANCE_REST_URL"
WS_VARIABLE = "MMCTL_BINANCE_WS_URL"
STREAM_VARIABLE = "MMCTL_BINANCE_STREAM_URL"
_VARIABLES = (PROFILE_VARIABLE, REDIS_VARIABLE, STATE_VARIABLE, REST_VARIABLE, WS_VARIABLE, STREAM_VARIABLE)
_KEY_PARTS = ("API_KEY", "API_SECRET", "API_PASSPHRASE")


def _no_secret() -> SecretStr:
    from pydantic import SecretStr

    return SecretStr("")


@dataclass(frozen=True, slots=True)
class Credentials:
    """One account's keys; ``passphrase`` is empty for venues that have none."""

    api_key: SecretStr
    api_secret: SecretStr
    passphrase: SecretStr = field(default_factory=_no_secret)


def key_prefix(venue: str, account: str, *, several_accounts: bool) -> str:
    """What the names of an account's key variables begin with: ``MMCTL_BINANCE_``.

    With several accounts in a profile the account is named too, so that no key serves two by accident.
    """
    parts = (venue, account) if several_accounts else (venue,)
    return "".join(re.sub(r"[^A-Z0-9]", "_", part.upper()) + "_" for part in ("mmctl", *parts))


def credentials(
    venue: str, account: str, *, several_accounts: bool, file: Credentials | None = None
) -> Credentials | None:
    """The keys of ``account`` on ``venue``: from the environment, else ``file``, else ``None``.

    Raises ``UsageError`` where the environment has one of key and secret but not the other: a key of the
    environment is never paired with a secret of a file.
    """
    from pydantic import SecretStr
    from pydantic_settings import BaseSettings, SettingsConfigDict

    prefix = key_prefix(venue, account, several_accounts=several_accounts)

    class Keys(BaseSettings):
        model_config = SettingsConfigDict(env_prefix=prefix, env_ignore_empty=True, hide_input_in_errors=True)
        api_key: SecretStr | None = None
        api_secret: SecretStr | None = None
        api_passphrase: SecretStr = SecretStr("")

    keys = Keys()
    if keys.api_key is not None and keys.api_secret is not None:
        return Credentials(keys.api_key, keys.api_secret, keys.api_passphrase)
    if keys.api_key is None and keys.api_secret is None:
        return file
    raise _half_a_pair(prefix, keys.api_key is not None)


def plain_keys(environ: Mapping[str, str], prefix: str) -> tuple[str, str] | None:
    """Key and secret of the variables that begin with ``prefix``, read without pydantic; ``None`` where there are none.

    Raises ``UsageError`` as ``credentials`` does.
    """
    read = {name.upper(): value for name, value in environ.items()}  # pydantic-settings does not mind the case either
    key, secret = read.get(f"{prefix}API_KEY"), read.get(f"{prefix}API_SECRET")
    if key and secret:
        return key, secret
    if key or secret:
        raise _half_a_pair(prefix, bool(key))
    return None


def _half_a_pair(prefix: str, has_key: bool) -> UsageError:
    there, missing = ("API_KEY", "API_SECRET") if has_key else ("API_SECRET", "API_KEY")
    return UsageError(f"{prefix}{there} is set but {prefix}{missing} is not", "set both, or neither")


def binance_urls(
    environ: Mapping[str, str], rest: str | None = None, ws: str | None = None, stream: str | None = None
) -> BinanceUrls:
    """Binance's addresses: the environment's, else those given, else the live ones.

    Raises ``UsageError`` for an address that keys may not go to, and where some are given and others would be
    the live ones: orders of a test must never go there.
    """
    chosen = [
        environ.get(REST_VARIABLE) or rest,
        environ.get(WS_VARIABLE) or ws,
        environ.get(STREAM_VARIABLE) or stream,
    ]
    if not any(chosen):
        return LIVE
    for name, url in zip((REST_VARIABLE, WS_VARIABLE, STREAM_VARIABLE), chosen, strict=True):
        if not url:
            raise UsageError(f"{name} is not set, and the other addresses of Binance are", "set all three, or none")
    return BinanceUrls(*(url or "" for url in chosen)).checked()


def binance_mode(urls: BinanceUrls) -> str:
    """``sandbox`` where every address is this machine, ``testnet`` for Binance's test network, else ``live``."""
    hosts = [urlsplit(url).hostname or "" for url in (urls.rest, urls.ws_api, urls.stream)]
    if all(is_loopback(host) for host in hosts):
        return "sandbox"
    return "testnet" if all("testnet." in host for host in hosts) else "live"


def state_dir(environ: Mapping[str, str]) -> Path:
    """The folder of halts, journals and leases: ``MMCTL_STATE_DIR``, else the platform's. Not created here."""
    stated = environ.get(STATE_VARIABLE)
    if stated:
        return Path(stated).expanduser().absolute()
    from platformdirs import user_state_path

    return user_state_path("mmctl", appauthor=False)


def redis_url(option: str | None, environ: Mapping[str, str], profile: SecretStr | None) -> SecretStr | None:
    """The address of Redis: ``--redis-url``, else ``MMCTL_REDIS_URL``, else the profile's, else none.

    It may hold a password, hence a secret. Raises ``UsageError`` for an address that is none.
    """
    if option is not None:
        return checked_redis_url(option, "--redis-url")
    if environ.get(REDIS_VARIABLE):
        return checked_redis_url(environ[REDIS_VARIABLE], REDIS_VARIABLE)
    return profile


def plain_redis_url(option: str | None, environ: Mapping[str, str], profile: str | None) -> tuple[str | None, str, str]:
    """As ``redis_url``, read without pydantic: the address, the server for people, and what is wrong with it.

    Raises ``UsageError`` for a wrong address on the command line; any other must keep nobody from stopping.
    """
    for url, where in (
        (option, "--redis-url"),
        (environ.get(REDIS_VARIABLE), REDIS_VARIABLE),
        (profile, "[redis] url"),
    ):
        if url is None or (not url and where == REDIS_VARIABLE):
            continue
        try:
            return url, f"Redis at {server_of(url)}", ""
        except UsageError as error:
            fault = f"{where}: {masked_url(url)} is not an address of Redis"
            if where == "--redis-url":
                raise UsageError(fault, error.hint) from None
            return url, "Redis", fault
    return None, "", ""


def checked_redis_url(url: str, where: str) -> SecretStr:
    """``url`` as a secret. Raises ``UsageError``, naming ``where`` it stands, unless it is an address of Redis."""
    from pydantic import SecretStr

    try:
        server_of(url)
    except UsageError as error:
        raise UsageError(f"{where}: {masked_url(url)} is not an address of Redis", error.hint) from None
    return SecretStr(url)


def masked_url(url: str) -> str:
    """``url`` for people: its user, password and query as ``***``; all of it where they cannot be told apart."""
    scheme, mark, rest = url.rpartition("://")
    opening = scheme + mark
    if not re.fullmatch(r"([a-z]+://)?", opening):
        return "***"
    address, question, query = rest.partition("?")
    _, at, place = address.rpartition("@")
    pattern = r"[\w.@/-]+" if opening == "unix://" else r"([\w.-]+|\[[\da-fA-F:.]+\])(:\d*)?(/\d*)?"
    if "@" in query or not re.fullmatch(pattern, place):
        return f"{opening}***"
    return f"{opening}{'***@' if at else ''}{place}{'?***' if question else ''}"


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """A warning for each ``MMCTL_*`` variable that nothing reads, with the known one spelt most like it.

    Key variables of any account count as known: one environment may serve several profiles.
    """
    venues = [re.escape(name.upper()) for name in VENUES if is_live(name)]
    keys = re.compile(rf"MMCTL_({'|'.join(venues)})(_\w+)?_({'|'.join(_KEY_PARTS)})")
    known = [*_VARIABLES, *(f"MMCTL_{venue}_{part}" for venue in venues for part in _KEY_PARTS)]
    return [
        f"environment variable {name} is not read: the nearest known one is {nearest(name, known)}"
        for name in sorted(environ)
        if name.startswith("MMCTL_") and name not in _VARIABLES and not keys.fullmatch(name)
    ]
