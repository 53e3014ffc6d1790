r"""Tables as LaTeX that fits a column; every table names the packages that it needs.

A table is a float with caption, a `tabular` in the style of booktabs, and the notes that a reader must see.
It is scaled down to the width of the column only if it is wider. Other notes are comments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from results.tables.text_table import Grid

PACKAGES = ("booktabs", "graphicx")
PREAMBLE = "% needs " + "".join(f"\\usepackage{{{name}}}" for name in PACKAGES)
SHOWN = ("MARKED", "INCOMPLETE", "PARTIAL", "MIXED")  # beginnings of notes that are printed under a table
LONGEST = 34  # characters of a cell without a line break
ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": r"\textless{}",
    ">": r"\textgreater{}", "\u2013": "--", "\u00d7": r"$\times$",
    "≥": r"$\geq$", "≤": r"$\leq$", "§": r"\S{}",
    "\"": "''", "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip


def tex_text(text: str) -> str:
    """Return a text with LaTeX's characters escaped; a character beyond Latin-1 without an escape is "?"."""
    return "".join(ESCAPES.get(letter) or (letter if ord(letter) < 256 else "?") for letter in text)


def render_tex(title: str, subtitle: str, grid: Grid, notes: Sequence[str]) -> str:
    """Return a table as a LaTeX float.

    Args:
        title: begins the caption.
        subtitle: ends the caption.
        grid: the cells; those in `grid.best` are bold, and the summary row is.
        notes: marks and gaps are printed under the table, the others become comments.
    """
    shown = [note for note in notes if note.startswith(SHOWN)]
    caption = ". ".join(_sentence(text) for text in (title, subtitle) if text)
    lines = [PREAMBLE, *(f"% {_comment(note)}" for note in notes if note not in shown)]
    lines += [r"\begin{table}[tb]", r"\centering", rf"\caption{{{caption}}}"]
    lines += [r"\sbox0{%", *_tabular(grid), "}%"]
    lines += [r"\ifdim\wd0>\columnwidth\resizebox{\columnwidth}{!}{\usebox0}\else\usebox0\fi"]
    if shown:
        text = r"\\".join(tex_text(note) for note in shown)
        lines += [r"\par\smallskip", rf"\parbox{{\columnwidth}}{{\footnotesize\raggedright {text}}}"]
    return "\n".join([*lines, r"\end{table}"])


def _tabular(grid: Grid) -> list[str]:
    lines = [grid.header, *grid.rows, *([grid.last] if grid.last else [])]
    longest = [max(map(len, column)) for column in zip(*lines, strict=True)]
    kinds = ["l", *("r" for _ in longest[1:])]
    columns = "".join(
        "p{12em}" if width > LONGEST else kind for kind, width in zip(kinds, longest, strict=True)
    )
    rows = [
        _row(
            rf"\textbf{{{tex_text(text)}}}" if (number, place) in grid.best else tex_text(text)
            for place, text in enumerate(row)
        )
        for number, row in enumerate(grid.rows)
    ]
    last = []
    if grid.last is not None:
        last = [r"\midrule", _row(rf"\textbf{{{tex_text(text)}}}" if text else "" for text in grid.last)]
    return [
        rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _row(map(tex_text, grid.header)), r"\midrule",
        *rows, *last, r"\bottomrule", r"\end{tabular}%",
    ]  # fmt: skip


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _sentence(text: str) -> str:
    escaped = tex_text(text)
    return escaped[:1].upper() + escaped[1:].rstrip(".")


def _comment(note: str) -> str:
    return " ".join(note.split())
