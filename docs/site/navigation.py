"""The navigation of the site: that of mkdocs.yml, and every other page of docs/ and results/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HEADINGS = {"docs": "How to", "results": "Results"}  # folder -> what takes the pages that mkdocs.yml lacks


def configuration(root: Path) -> dict[str, Any]:
    """Return the configuration of mkdocs, for a file in the folder build, with a place for every page."""
    config: dict[str, Any] = yaml.safe_load((root / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = set(listed_pages(config["nav"]))
    for folder, heading in HEADINGS.items():
        for path in sorted((root / folder).glob("*.md")):
            name = path.relative_to(root).as_posix()
            if name not in listed:
                (pages,) = [entry[heading] for entry in config["nav"] if heading in entry]
                pages.append({title_of(path): name})
    return {**config, "docs_dir": "site-source", "site_dir": "site"}


def listed_pages(nav: object) -> Iterator[str]:
    """Yield every page of a navigation."""
    if isinstance(nav, str):
        yield nav
    for entry in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from listed_pages(entry)


def title_of(path: Path) -> str:
    """Return the first heading of a page, else its name."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), path.stem)
