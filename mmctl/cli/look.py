"""How ``show-book`` and ``diff`` look: the feed first, then the venue; one picture a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import typer

from mmctl.bootstrap import Setup, open_pairs, readable_venues
from mmctl.cli.options import Output, note
from mmctl.core.order import Layer, Order, Quote
from mmctl.core.report import BookShown, Planned, Refusal, Report, Wanted
from mmctl.engine.cycle import observe
from mmctl.engine.guard import adopt
from mmctl.engine.pair import Pair
from mmctl.errors import EXIT_CHANGES, EXIT_DONE, EXIT_VENUE, NoBook, VenueError
from mmctl.ports import Feed
from mmctl.views import jsonlines, text


def _unheard(report: Report) -> None:
    """What the engine's parts tell along the way is shown by the picture itself."""


async def show_books(setup: Setup, output: Output) -> int:
    """Show each pair's book with own orders; returns the exit code. Raises ``FeedError``."""
    code = EXIT_DONE
    async with open_pairs(setup, readable_venues, _unheard, note) as (feed, pairs):
        for pair in pairs:
            shown = await _book_shown(pair, feed)
            code = max(code, EXIT_VENUE if shown.unread else EXIT_DONE)
            if output is Output.LIVE:
                _print_ladder(pair)
            else:
                typer.echo(jsonlines.book(shown) if output is Output.JSON else text.book(shown))
            if shown.unread:
                note(f"{pair.spec.name}: {shown.unread}")
    return code


async def show_plans(setup: Setup, output: Output) -> int:
    """Show what each pair's next rounds would do; returns the exit code.

    Raises ``FeedError`` where there is no usable book, ``VenueError`` where the venue cannot be read.
    """
    changes = 0
    async with open_pairs(setup, readable_venues, _unheard, note) as (feed, pairs):
        for pair in pairs:
            planned = await _planned(pair, feed)
            changes += planned.changes
            if output is Output.LIVE:
                from rich.console import Console

                from mmctl.views.plan import plan

                Console().print(plan(planned))
            else:
                typer.echo(jsonlines.plan(planned) if output is Output.JSON else text.plan(planned))
    return EXIT_CHANGES if changes else EXIT_DONE


async def _book_shown(pair: Pair, feed: Feed) -> BookShown:
    await observe(pair, feed)
    book = pair.age.book
    if book is None:
        raise NoBook(f"{feed.source} has no book of {pair.spec.follow}")
    age_ms = pair.age.age_s(pair.clock.wall_ms(), pair.clock.monotonic()) * 1000
    if book.fault is not None:
        note(f"{pair.spec.name}: {book.fault}: it is not quoted on")
    try:
        await adopt(pair)
    except VenueError as error:
        return BookShown(pair.spec.name, pair.instrument, book, age_ms, None, None, str(error))
    return BookShown(pair.spec.name, pair.instrument, book, age_ms, tuple(pair.ledger.live()), pair.foreign)


async def _planned(pair: Pair, feed: Feed) -> Planned:
    """Both layers' plans on one book, near first, as rounds of an engine that starts now would make them."""
    await observe(pair, feed)
    await pair.desk.refresh_balances()
    await adopt(pair)
    live = pair.ledger.live()
    keep: list[Wanted] = []
    place: list[Wanted] = []
    cancel: dict[str, Wanted] = {}
    refused: list[Refusal] = []
    for layer, state in pair.layers.items():
        stale = pair.age.stale(state.spec.quote_timeout_s, pair.clock.wall_ms(), pair.clock.monotonic())
        book = pair.age.book
        if stale is not None or book is None:
            raise NoBook(f"{pair.spec.name}: {stale.detail if stale else 'there is no book'}")
        reference = pair.decider.reference(book, live)
        if reference.fault is not None:
            raise NoBook(f"{pair.spec.name}: without own orders {reference.fault}")
        decision = pair.decider.decide(layer, reference, live, pair.room(), forced=False, refreshes=0)
        keep += [Wanted(order, "matches") for order in decision.plan.keep]
        place += [Wanted(_to_be(quote), "wanted") for quote in decision.plan.place]
        cancel |= {wanted.order.client_id: wanted for wanted in decision.plan.cancel}
        refused += decision.refused
        _set_aside(pair, layer, decision.plan.place)
    kept = tuple(wanted for wanted in keep if wanted.order.client_id not in cancel)
    return Planned(pair.spec.name, pair.instrument, kept, tuple(place), tuple(cancel.values()), tuple(refused))


def _to_be(quote: Quote) -> Order:
    return Order("", quote.layer, quote.side, quote.price, quote.qty)


def _set_aside(pair: Pair, layer: Layer, quotes: Sequence[Quote]) -> None:
    """What near would lock is not there for far."""
    for number, quote in enumerate(quotes):
        pair.desk.budget.reserve(f"{layer} {number}", pair.instrument, quote)


def _print_ladder(pair: Pair) -> None:
    from rich.console import Console

    from mmctl.views.ladder import ladder

    console = Console()
    view = replace(pair.view(), status="", quoting=True)
    console.print(f"{view.pair}  {view.source} {pair.spec.follow}", highlight=False)
    console.print(ladder(view, min(console.width, 100), max(12, console.height - 2)))
