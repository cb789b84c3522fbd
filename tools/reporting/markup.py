"""HTML elements in which every text is escaped: what is not `Html` already is taken for plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import zip_longest

from datareader.video import printable

NUMBER = '<td class="number"'
VOID = ("img", "meta")  # closed in XML's way, so that the page is well-formed XML as well


class Html(str):
    """A piece of a page. Made by this module and by charts.py only."""


def element(tag: str, /, *children: str | Iterable[str], **attributes: str | int | bool | None) -> Html:
    """<tag attributes>children</tag>.

    children: `Html` stays as it is, other text is escaped, without its control characters; lists are taken apart.
    attributes: underscores become hyphens, a last one is dropped (`class_`); None and False: left out, True: empty.
    """
    shown = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    text = "".join(
        f' {key}="{"" if value is True else plain(value)}"'
        for key, value in shown.items()
        if value not in (None, False)
    )
    return Html(f"<{tag}{text}/>" if tag in VOID else f"<{tag}{text}>{join(children)}</{tag}>")


def join(children: Iterable[str | Iterable[str]]) -> Html:
    """The children of an element one behind the other, as `element` takes them."""
    return Html("".join(_child(child) for child in children))


def plain(value: object) -> str:
    """Text as it may stand in an element or in an attribute's quotes."""
    return escape(printable(str(value)))


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], sortable: bool = False, pale: Sequence[bool] = ()
) -> Html:
    """A table that scrolls sideways where it is too wide. Cells are texts, or `td` elements made by `cell` or `number`;
    the head of a column of numbers is flush right, too. sortable: by a click on a column's head. pale:
    which rows are."""
    body = [[item if isinstance(item, Html) and item.startswith("<td") else cell(item) for item in row] for row in rows]
    columns = zip(head, body[0] if body else [cell("")] * len(head))
    heads = [
        element("th", title, scope="col", class_="number" if first.startswith(NUMBER) else None)
        for title, first in columns
    ]
    whole = element(
        "table",
        element("thead", element("tr", heads)),
        element("tbody", [element("tr", row, class_="pale" if dim else None) for row, dim in zip_longest(body, pale)]),
        class_="sortable" if sortable else None,
    )
    return element("div", whole, class_="scroll")


def cell(*children: str | Iterable[str], wide: bool = False) -> Html:
    """A table cell; wide: of a long text, which may be broken into lines."""
    return element("td", *children, class_="wide" if wide else None)


def number(text: str, value: float | None = None) -> Html:
    """A table cell with a number, flush right; value: what the column is sorted by, where the text has more in it."""
    return element("td", text, class_="number", data_value=None if value is None else f"{value:.9g}")


def _child(child: str | Iterable[str]) -> str:
    if isinstance(child, Html):
        return child
    return plain(child) if isinstance(child, str) else join(child)
