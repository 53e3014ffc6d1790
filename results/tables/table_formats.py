"""The printed formats of a table by name: text for a terminal, markdown, LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from results.tables.latex import render_tex
from results.tables.text_table import Grid, render_markdown, render_text

Layout = Callable[[str, str, Grid, Sequence[str]], str]
FORMATS: dict[str, Layout] = {"text": render_text, "md": render_markdown, "tex": render_tex}
