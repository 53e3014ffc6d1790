"""Small pieces of HTML; every text passes through `escaped`."""

from __future__ import annotations

from collections.abc import Sequence

from results.leaderboard.html import Picture, escaped
from results.tables.text_table import Grid

LONGEST_NUMBER = 23  # characters of a cell that is aligned to the right


def plain_table(caption: str, grid: Grid, drawings: Sequence[str] = ()) -> str:
    """Return a table whose first column heads its rows.

    Args:
        caption: says what the numbers are.
        grid: header and rows of texts.
        drawings: SVG per row, for a last column without a heading text.
    """
    is_text = [
        place == 0 or any(len(row[place]) > LONGEST_NUMBER for row in grid.rows)
        for place in range(len(grid.header))
    ]
    heads = "".join(
        f'<th scope="col"{_kind(is_text[n])}>{escaped(text)}</th>' for n, text in enumerate(grid.header)
    )
    if drawings:
        heads += '<th scope="col" class="text">from 0 to 100 %</th>'
    rows = []
    for number, row in enumerate(grid.rows):
        cells = f'<th scope="row">{escaped(row[0])}</th>' + "".join(
            f"<td{_kind(is_text[n])}>{escaped(text)}</td>" for n, text in enumerate(row[1:], start=1)
        )
        if drawings:
            cells += f'<td class="text">{drawings[number]}</td>'
        rows.append(f"<tr>{cells}</tr>")
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escaped(caption)}"><table>'
        f"<caption>{escaped(caption)}</caption><thead><tr>{heads}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )


def term_list(terms: Sequence[tuple[str, str]]) -> str:
    """Return terms and texts as a description list."""
    lines = (f"<dt>{escaped(term)}</dt><dd>{escaped(text)}</dd>" for term, text in terms)
    return f"<dl>{''.join(lines)}</dl>"


def figure(picture: Picture) -> str:
    """Return an embedded picture with its caption."""
    caption = escaped(picture.caption)
    image = f'<img src="data:image/png;base64,{picture.png_base64}" alt="{caption}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def option(value: str, text: str) -> str:
    """Return an option of a select element."""
    return f'<option value="{escaped(value)}">{escaped(text)}</option>'


def link(target: str, text: str) -> str:
    """Return a link to an anchor of the page."""
    return f'<a href="#{escaped(target)}">{escaped(text)}</a>'


def _kind(is_text: bool) -> str:
    return ' class="text"' if is_text else ""
