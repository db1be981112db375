"""``mmctl explain`` and ``mmctl journal``: what was done, and why. Neither needs a profile or a venue."""

from __future__ import annotations

from typing import Annotated

import typer

from mmctl.cli.options import DebugOption, NoColorOption, Output, PlainOutputOption, count, duration_s
from mmctl.core.entries import Kind

IdArgument = Annotated[str, typer.Argument(metavar="ID", hidden=True)]
"""Told of by the verb's own words: a list of arguments would show a type of Python's."""

PairsOption = Annotated[
    list[str] | None,
    typer.Option("--pair", "--symbol", metavar="PAIR", help="By name or symbol; may be repeated.  [default: all]"),
]
KindOption = Annotated[
    list[Kind] | None,
    typer.Option("--kind", metavar="KIND", help="decision, intent, request, reply, fill, end, ...; may be repeated."),
]
SinceOption = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Of the last 30s, 10m, 2h.")]
OrderOption = Annotated[
    str | None, typer.Option("--order", metavar="ID", help="Of one order, by its client or venue order id.")
]
LimitOption = Annotated[str, typer.Option("--limit", metavar="N", help="The newest N entries.")]


def explain(
    order: IdArgument,
    output: PlainOutputOption = Output.TEXT,
    no_color: NoColorOption = False,
    debug: DebugOption = False,
) -> int:
    """Tell an order's whole story.

    The book it answered, why it was wanted, why it was kept or let go, each request and reply, its fills, its end
    and the evidence for it. ID is its client order id, or the venue's. Reads the journal of the state folder; ends
    with 2 if that does not know the order.

    \b
    Example:
      mmctl explain N0B0TP30EO0000001621
    """
    from mmctl.cli.journal_look import explain_order

    return explain_order(order, output)


def journal(
    pair: PairsOption = None,
    kind: KindOption = None,
    since: SinceOption = None,
    order: OrderOption = None,
    limit: LimitOption = "100",
    output: PlainOutputOption = Output.TEXT,
    no_color: NoColorOption = False,
    debug: DebugOption = False,
) -> int:
    """List what the journal holds, the newest last.

    \b
    Example:
      mmctl journal --since 10m --kind fill --kind fault
    """
    from mmctl.cli.journal_look import list_entries
    from mmctl.engine.journal_read import Wanted

    since_s = duration_s(since, "--since")
    return list_entries(
        Wanted(
            symbols=tuple(pair or ()),
            kinds=tuple(kind or ()),
            order=order or "",
            limit=count(limit, "--limit") or 1,
        ),
        since_s,
        output,
    )


def add_to(app: typer.Typer) -> None:
    """Add the verbs of this file."""
    app.command("explain")(explain)
    app.command("journal")(journal)
