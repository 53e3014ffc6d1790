"""Documents of the repository as pages of the site, in the same folders, and the files they link to."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

DOCUMENTS = ("*.md", "docs/*.md", "results/*.md")
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
# links that lead elsewhere on the site, relative to the root
MOVED = {"README.md": "index.md", "results/data/leaderboards": "results/boards.md"}


def gather(root: Path, source: Path, texts: Mapping[str, str]) -> None:
    """Copy every document and every linked file of the repository into the site's source.

    Args:
        root: the repository.
        source: the folder of the site's pages.
        texts: document -> text, in place of what its file holds.

    Raises:
        FileNotFoundError: a document links to a file that the repository lacks.
    """
    for path in sorted(path for pattern in DOCUMENTS for path in root.glob(pattern)):
        name = path.relative_to(root).as_posix()
        text = texts.get(name, path.read_text(encoding="utf-8"))
        target = source / MOVED.get(name, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_moved_links(root, path, source, text), encoding="utf-8")


def _moved_links(root: Path, page: Path, source: Path, text: str) -> str:
    """Return a page's text with its links to moved pages mended; copy the files that it links to."""

    def mend(match: re.Match[str]) -> str:
        before, link, anchor, after = match.groups(default="")
        if "://" in link or link.startswith("mailto:"):
            return match[0]
        target = (page.parent / link).resolve()
        name = target.relative_to(root).as_posix()
        if not target.exists():
            raise FileNotFoundError(f"{page.relative_to(root)} links to {link}, which does not exist")
        if target.is_file() and target.suffix != ".md":
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target, source / name)
        here = page.relative_to(root).parent
        place = MOVED.get(name, MOVED.get(Path(name).parent.as_posix()))  # a page moves with its folder
        moved = link if place is None else os.path.relpath(place, here)
        return f"{before}{moved}{anchor}{after}"

    parts = re.split(r"(```.*?```)", text, flags=re.DOTALL)  # code holds no links
    return "".join(part if part.startswith("```") else LINK.sub(mend, part) for part in parts)
