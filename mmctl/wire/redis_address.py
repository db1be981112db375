"""Addresses of Redis: what they name, and what is wrong with one that names nothing.

An address may hold a password, so none is ever shown as it was given.
"""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from mmctl.errors import UsageError

_DEFAULT_PORT = 6379
_SCHEMES = ("redis", "rediss", "unix")
_OPTIONS = frozenset(
    {
        *("db", "username", "password", "client_name", "ssl_ca_certs", "ssl_ca_path"),
        *("ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"),
    }
)
"""What an address may say after ``?``. Time-outs, pool and decoding are this module's, not the address's."""

ADDRESS_FORM = "write redis://HOST:PORT/DB; percent-encode special characters of a password"


def server_of(url: str) -> str:
    """``host:port``, or the path of a socket. Raises ``UsageError`` for an address that is none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:  # the text of this error may quote a piece of a password
        raise _no_address(url, "its host or port cannot be read") from None
    fault = _fault_of(parts, host)
    if fault:
        raise _no_address(url, fault)
    if parts.scheme == "unix":
        return unquote(parts.path)
    return f"[{host}]:{port or _DEFAULT_PORT}" if ":" in host else f"{host}:{port or _DEFAULT_PORT}"


def _fault_of(parts: SplitResult, host: str) -> str:
    """What is wrong with an address that could be split, or nothing."""
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(options) - _OPTIONS)
    if parts.scheme not in _SCHEMES:
        return "it does not begin with redis://, rediss:// or unix://"
    if parts.scheme == "unix":
        return "" if parts.path.strip("/") else "it names no socket"
    if not host or any(character.isspace() for character in unquote(host)):
        return "it names no host"
    if parts.port == 0:
        return "its port is 0"
    if unknown:
        return (
            f"it has {len(unknown)} options that mmctl does not know" if len(unknown) > 1 else "its option is unknown"
        )
    database = options.get("db", unquote(parts.path).strip("/") or "0")
    if not (database.isascii() and database.isdigit()):
        return "its database is not a number"
    return ""


def _no_address(url: str, fault: str) -> UsageError:
    shown = "the Redis address" if {"@", "?"} & set(url) else f"the Redis address {url!r}"
    return UsageError(f"{shown} is none: {fault}", ADDRESS_FORM)


def secrets_of(url: str) -> tuple[str, ...]:
    """The credentials in an address, as given and decoded."""
    parts = urlsplit(url)
    given = [parts.password, *(value for name, value in parse_qsl(parts.query) if name == "password")]
    return tuple({form for secret in given if secret for form in (secret, unquote(secret))})
