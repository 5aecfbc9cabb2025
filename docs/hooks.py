"""Hooks of mkdocs: pages from outside ``docs/``, links as GitHub has them, and patterns in the navigation.

Links in the documents are those that GitHub follows. In the site, README.md and its neighbors are pages too, and a link
to a source file, which the site doesn't have, becomes plain text.
"""

from __future__ import annotations

import logging
import os.path
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# Documents of the root, and the pages that they become.
ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
    "CHANGELOG.md": "CHANGELOG.md",
}
_FENCE = re.compile(r"(^ *```.*?^ *```[^\n]*$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def slug(heading: str, separator: str = "-") -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", separator)


def on_startup(command: Literal["build", "gh-deploy", "serve"], dirty: bool) -> None:
    """Print only warnings of a build.

    mkdocs' own ``--quiet`` hides those too, and then ``--strict`` doesn't see them.
    """
    if command == "build":
        logging.getLogger("mkdocs").setLevel(logging.WARNING)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make anchors as GitHub does, and replace patterns in the navigation with the pages that they match."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slug
    folder = Path(config.docs_dir)
    listed = {page for page in _pages(config.nav) if "*" not in page}
    config.nav = _expand(config.nav or [], folder, listed)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents of the root."""
    for document, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / document)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead each relative link to the page of its target."""
    source = Path(page.file.abs_src_path or "").resolve()
    folder = Path(config.docs_dir).resolve()

    def rewrite(link: re.Match[str]) -> str:
        name, hash_, anchor = link["target"].partition("#")
        if not name or re.match(r"[a-z]+:", name):
            return link[0]
        target = (source.parent / name).resolve()
        if target.parent == ROOT and target.name in ROOT_PAGES:
            uri = ROOT_PAGES[target.name]
        elif target.is_relative_to(folder):
            uri = target.relative_to(folder).as_posix()
        elif link["image"] or not target.exists():
            return link[0]
        else:
            return link["text"] if " " in link["text"] or "`" in link["text"] else f"`{link['text']}`"
        path = os.path.relpath(uri, os.path.dirname(page.file.src_uri) or ".")
        return f"{link['image']}[{link['text']}]({path}{hash_}{anchor})"

    # The odd parts are blocks of code.
    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(rewrite, part) for part in parts[::2]]
    return "".join(parts)


def _pages(nav: Any) -> Iterator[str]:
    """All pages and patterns of a navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav or ():
            yield from _pages(entry)


def _expand(nav: list[Any], folder: Path, listed: set[str]) -> list[Any]:
    """The navigation with the pages that its patterns match, sorted, apart from those that are listed by name."""
    expanded: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and "*" in entry:
            found = sorted(path.relative_to(folder).as_posix() for path in folder.glob(entry))
            expanded += [page for page in found if page not in listed]
        elif isinstance(entry, dict):
            ((title, below),) = entry.items()
            inner = _expand(below, folder, listed) if isinstance(below, list) else below
            if inner:
                expanded.append({title: inner})
        else:
            expanded.append(entry)
    return expanded
