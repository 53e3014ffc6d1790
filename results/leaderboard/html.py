"""One self-contained HTML page: sortable, filterable tables and embedded pictures; it loads nothing.

`escaped` escapes every text of a page. The only script is the constant below; the page's policy forbids any
other source.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from results.tables.text_table import Grid

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
STYLE = """
:root { color-scheme: light; --line: #c9ced6; --soft: #f4f6f9; --ink: #1b2430; --blue: #1f6fd0; }
body { margin: 2rem auto; max-width: 84rem; padding: 0 1rem; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { background: var(--soft); position: sticky; top: 0; } th.text, td.text { text-align: left; }
td.long { white-space: normal; min-width: 14rem; }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid var(--blue); }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
tbody tr:hover { background: #eef4fc; } tbody tr:last-child td { border-bottom: 0; }
label { display: block; margin: .6rem 0; } input { font: inherit; padding: .2rem .4rem; width: 18rem; }
ul { font-size: 13px; color: #46515f; } pre { background: var(--soft); padding: .8rem; overflow-x: auto; }
figure { margin: 1.5rem 0; } figure svg, figure img { max-width: 100%; height: auto; }
figcaption { font-size: 13px; color: #46515f; }
"""
SCRIPT = """
const number = text => { const found = text.match(/^[+-]?\\d+(\\.\\d+)?/);
  return found ? parseFloat(found[0]) : null; };
const compare = (one, other, sign) => { const a = number(one), b = number(other);
  if (a !== null && b !== null) return sign * (a - b);
  if ((a === null) !== (b === null)) return a === null ? 1 : -1;
  return sign * one.localeCompare(other); };
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, place) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") !== "descending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows], text = row => row.cells[place].textContent;
    rows.sort((one, other) => compare(text(one), text(other), down ? -1 : 1));
    body.append(...rows); }));
  const input = document.getElementById(table.dataset.filter);
  input.addEventListener("input", () => { const expected = input.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(expected); });
}
"""
NUMBER = re.compile(r"[+-]?\d[\d.,/]*( (\(|to|±).*)?|-|incomplete|undefined|missing")


@dataclass(frozen=True)
class Sheet:
    """A table with its title and the notes under it."""

    title: str
    grid: Grid
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Prose:
    """A heading and paragraphs; `code` prints them preformatted."""

    title: str
    lines: tuple[str, ...]
    code: bool = False


@dataclass(frozen=True)
class Picture:
    """An embedded image: PNG bytes in base64, with a title and a caption."""

    title: str
    caption: str
    png_base64: str


Part = Sheet | Prose | Picture


def escaped(text: str) -> str:
    """Return text escaped for HTML, quotes included."""
    return html.escape(text, quote=True)


def page(title: str, parts: Sequence[Part]) -> str:
    """Return a self-contained HTML document that loads and sends nothing."""
    body = "\n".join(_part(part, number) for number, part in enumerate(parts))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escaped(title)}</h1>\n"
        f"{body}\n<script>{SCRIPT}</script>\n</body>\n</html>"
    )


def _part(part: Part, number: int) -> str:
    heading = f"<h2>{escaped(part.title)}</h2>\n"
    if isinstance(part, Sheet):
        return heading + _table(part.grid, f"filter-{number}") + _list(part.notes)
    if isinstance(part, Picture):
        caption = escaped(part.caption)
        image = f'<img src="data:image/png;base64,{part.png_base64}" alt="{caption}">'
        return f"{heading}<figure>{image}<figcaption>{caption}</figcaption></figure>"
    if part.code:
        return heading + f"<pre>{escaped(chr(10).join(part.lines))}</pre>"
    return heading + "\n".join(f"<p>{escaped(line)}</p>" for line in part.lines)


def _table(grid: Grid, name: str) -> str:
    """Return a table with sort buttons in its header, and the input field that filters its rows."""
    is_text = [
        not all(NUMBER.fullmatch(row[place]) for row in grid.rows if row[place]) or not grid.rows
        for place in range(len(grid.header))
    ]
    heads = "".join(
        f'<th scope="col"{_class(is_text[place], head)}><button type="button">{escaped(head)}</button></th>'
        for place, head in enumerate(grid.header)
    )
    rows = "\n".join(
        "<tr>"
        + "".join(f"<td{_class(is_text[n], cell)}>{escaped(cell)}</td>" for n, cell in enumerate(row))
        + "</tr>"
        for row in grid.rows
    )
    return (
        f'<label>Filter rows: <input type="search" id="{name}"></label>\n'
        f'<div class="wide"><table class="sortable" data-filter="{name}">\n<thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>\n"
    )


def _class(is_text: bool, cell: str) -> str:
    names = [*(["text"] if is_text else []), *(["long"] if len(cell) > 45 else [])]
    return f' class="{" ".join(names)}"' if names else ""


def _list(notes: Sequence[str]) -> str:
    return "<ul>\n" + "\n".join(f"<li>{escaped(note)}</li>" for note in notes) + "\n</ul>" if notes else ""
