"""The environment: keys, addresses, folders; what is unknown warns, and nothing secret shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from mmctl.errors import UsageError
from mmctl.settings import (
    Credentials,
    checked_redis_url,
    credentials,
    key_prefix,
    masked_url,
    redis_url,
    state_dir,
    unknown_variables,
)

FILE = Credentials(SecretStr("file-key"), SecretStr("file-secret"), SecretStr("file-pass"))


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MMCTL_")]:
        monkeypatch.delenv(name)


def plain(keys: Credentials | None) -> tuple[str, ...] | None:
    return keys and tuple(s.get_secret_value() for s in (keys.api_key, keys.api_secret, keys.passphrase))


@pytest.mark.parametrize(
    ("environ", "several", "found"),
    [
        ({}, False, ("file-key", "file-secret", "file-pass")),
        ({"MMCTL_BINANCE_API_KEY": "k", "MMCTL_BINANCE_API_SECRET": "s"}, False, ("k", "s", "")),
        (
            {
                "MMCTL_BINANCE_API_KEY": "k",
                "MMCTL_BINANCE_API_SECRET": "s",
                "MMCTL_BINANCE_API_PASSPHRASE": "p",
            },
            False,
            ("k", "s", "p"),
        ),
        (
            {"MMCTL_BINANCE_API_KEY": "", "MMCTL_BINANCE_API_SECRET": ""},
            False,
            ("file-key", "file-secret", "file-pass"),
        ),
        # With several accounts a key that names none serves none.
        (
            {"MMCTL_BINANCE_API_KEY": "k", "MMCTL_BINANCE_API_SECRET": "s"},
            True,
            ("file-key", "file-secret", "file-pass"),
        ),
        ({"MMCTL_BINANCE_DESK_2_API_KEY": "k", "MMCTL_BINANCE_DESK_2_API_SECRET": "s"}, True, ("k", "s", "")),
        (
            {"MMCTL_BINANCE_DESK_2_API_KEY": "k", "MMCTL_BINANCE_DESK_2_API_SECRET": "s"},
            False,
            ("file-key", "file-secret", "file-pass"),
        ),
    ],
)
def test_keys_of_the_environment_win(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], several: bool, found: tuple[str, ...]
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert plain(credentials("binance", "desk-2", several_accounts=several, file=FILE)) == found


def test_no_keys_at_all() -> None:
    assert credentials("binance", "main", several_accounts=False) is None


@pytest.mark.parametrize(("there", "missing"), [("API_KEY", "API_SECRET"), ("API_SECRET", "API_KEY")])
def test_half_a_pair_of_keys_is_never_completed_from_a_file(
    monkeypatch: pytest.MonkeyPatch, there: str, missing: str
) -> None:
    monkeypatch.setenv(f"MMCTL_OKX_SPOT_{there}", "hunter2")
    with pytest.raises(UsageError) as caught:
        credentials("okx_spot", "main", several_accounts=False, file=FILE)
    assert caught.value.message == f"MMCTL_OKX_SPOT_{there} is set but MMCTL_OKX_SPOT_{missing} is not"
    assert "hunter2" not in str(caught.value)


def test_credentials_never_show() -> None:
    assert "file-" not in f"{FILE!r} {FILE}"


def test_key_prefixes() -> None:
    assert key_prefix("binance", "main", several_accounts=False) == "MMCTL_BINANCE_"
    assert key_prefix("okx_spot", "Desk-2", several_accounts=True) == "MMCTL_OKX_SPOT_DESK_2_"


def test_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_dir({"MMCTL_STATE_DIR": str(tmp_path)}) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert state_dir({"MMCTL_STATE_DIR": "here"}) == tmp_path / "here"
    monkeypatch.setattr("platformdirs.user_state_path", lambda *_, **__: tmp_path / "state")
    assert state_dir({"MMCTL_STATE_DIR": ""}) == tmp_path / "state"


def test_redis_address_in_order() -> None:
    environ, profile = {"MMCTL_REDIS_URL": "redis://b"}, SecretStr("redis://c")

    def chosen(option: str | None, environ: dict[str, str], profile: SecretStr | None) -> str | None:
        url = redis_url(option, environ, profile)
        return url and url.get_secret_value()

    assert chosen("redis://a", environ, profile) == "redis://a"
    assert chosen(None, environ, profile) == "redis://b"
    assert chosen(None, {"MMCTL_REDIS_URL": ""}, profile) == "redis://c"
    assert chosen(None, {}, None) is None


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379/",
        "redis://user:p%40ss@10.0.0.1:6379/0",
        "rediss://redis.example.com:6380/15?ssl_cert_reqs=none",
        "redis://[::1]:6379/0",
        "unix:///run/redis.sock?db=1",
    ],
)
def test_addresses(url: str) -> None:
    assert checked_redis_url(url, "--redis-url").get_secret_value() == url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", "***"),
        ("localhost:6379", "localhost:6379"),
        ("http://localhost:6379", "http://localhost:6379"),
        ("redis://", "redis://***"),
        ("redis://localhost:port", "redis://***"),
        ("redis://localhost:99999", "redis://localhost:99999"),
        ("redis://localhost:0", "redis://localhost:0"),
        ("redis://localhost/name", "redis://***"),
        ("redis://:hunter2", "redis://***"),
        ("redis://:hunter2@", "redis://***"),
        ("redis://me:hunter2@host:port/0", "redis://***"),
        ("redis://[::1", "redis://***"),
        ("unix://", "unix://***"),
    ],
)
def test_what_is_no_address(url: str, shown: str) -> None:
    with pytest.raises(UsageError) as caught:
        redis_url(None, {"MMCTL_REDIS_URL": url}, None) if url else redis_url(url, {}, None)
    assert f"{shown} is not an address of Redis" in caught.value.message
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:hunter2@localhost:6379/0", "redis://***@localhost:6379/0"),
        ("redis://me:hunt@er2@localhost/0", "redis://***@localhost/0"),
        ("redis://me:hunt/er2@localhost", "redis://***@localhost"),
        ("redis://me:hunt?er2@localhost", "redis://***"),
        ("redis://me:hunt://er2@localhost", "***"),
        ("redis://localhost/0?password=hunter2", "redis://localhost/0?***"),
        ("unix://me:hunter2@/run/redis.sock", "unix://***@/run/redis.sock"),
        ("me:hunter2", "***"),
    ],
)
def test_a_masked_address_shows_no_secret(url: str, shown: str) -> None:
    assert masked_url(url) == shown


def test_unknown_variables_warn() -> None:
    environ = {
        "MMCTL_PROFIL": "x",
        "MMCTL_BINANCE_API_KEYS": "hunter2",
        "MMCTL_PROFILE": "x",
        "MMCTL_STATE_DIR": "x",
        "MMCTL_REDIS_URL": "x",
        "MMCTL_BINANCE_API_KEY": "x",
        "MMCTL_BINANCE_DESK_API_SECRET": "x",
        "MMCTL_OKX_SPOT_API_PASSPHRASE": "x",
        "HOME": "x",
    }
    assert unknown_variables(environ) == [
        "environment variable MMCTL_BINANCE_API_KEYS is not read: the nearest known one is MMCTL_BINANCE_API_KEY",
        "environment variable MMCTL_PROFIL is not read: the nearest known one is MMCTL_PROFILE",
    ]
