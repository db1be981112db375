"""One sandbox in the foreground: start, tell the addresses, serve until a signal."""

from __future__ import annotations

import asyncio
import signal

import msgspec
import typer

from mmctl.cli.options import Output
from mmctl.errors import EXIT_DONE, EXIT_SIGINT
from mmctl.sandbox.options import SandboxOptions
from mmctl.sandbox.server import Sandbox


async def serve(options: SandboxOptions, output: Output) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP; returns the exit code."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    code = EXIT_DONE

    def on_signal(number: signal.Signals) -> None:
        nonlocal code
        code = EXIT_SIGINT if number is signal.SIGINT else EXIT_DONE
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal, number)
    async with Sandbox(options) as sandbox:
        typer.echo(_json(sandbox) if output is Output.JSON else _text(sandbox))
        ending = asyncio.create_task(ended.wait())
        await asyncio.wait({ending, sandbox.market_task}, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if sandbox.market_task.done():
            sandbox.market_task.result()  # the market ended by itself: by a fault, which is told
    return code


def _json(sandbox: Sandbox) -> str:
    event = {
        "v": 1,
        "event": "sandbox",
        "rest_url": sandbox.rest_url,
        "ws_url": sandbox.ws_url,
        "stream_url": sandbox.stream_url,
        "control_url": sandbox.control_url,
        "api_key": sandbox.key,
        "api_secret": sandbox.secret,
    }
    return msgspec.json.encode(event).decode()


def _text(sandbox: Sandbox) -> str:
    return "\n".join(
        (
            f"sandbox  {', '.join(sandbox.exchange.markets)}: play money, on this machine only; Ctrl-C ends it",
            f"  MMCTL_BINANCE_REST_URL={sandbox.rest_url}",
            f"  MMCTL_BINANCE_WS_URL={sandbox.ws_url}",
            f"  MMCTL_BINANCE_STREAM_URL={sandbox.stream_url}",
            f"  MMCTL_BINANCE_API_KEY={sandbox.key}",
            f"  MMCTL_BINANCE_API_SECRET={sandbox.secret}",
            f"  control  {sandbox.control_url}/state",
        )
    )
