"""The documentation as a site: every document is a page, and nothing leads out of it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from local.paths import ROOT
from tests.unit.documents.test_documents import DOCUMENTS


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-B", "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout + done.stderr == ""
    return folder


def test_the_site_has_a_page_for_each_document(site: Path) -> None:
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")} - {"404.html"}
    documents = {document.relative_to(ROOT).as_posix() for document in DOCUMENTS}
    expected = {re.sub(r"(^|/)README\.md$", r"\1index.md", name.removeprefix("docs/")) for name in documents}
    assert pages == {f"{name.removesuffix('.md')}.html" for name in expected}


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'<(?:script|img|iframe|source)[^>]+src="?(?:https?:)?//', text), page
        for tag in re.findall(r"<link [^>]*>", text):
            assert not re.search(r'href="?(?:https?:)?//', tag), (page, tag)
        for local in re.findall(r'<(?:script|img)[^>]+src="([^":]+)"', text):
            assert page.name == "404.html" or (page.parent / local).is_file(), (page, local)


def test_the_site_has_no_link_out_of_it(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        (article,) = re.findall(r"<article.*?</article>", page.read_text(encoding="utf-8"), re.DOTALL)
        for target in re.findall(r'href="([^"#]+)', article):
            if not re.match(r"(?:https?|mailto):", target):
                found = (page.parent / target).resolve()
                assert found.is_file() and found.is_relative_to(site.resolve()), (page, target)
        # What Python-Markdown has not understood: lists without a line before them, tables, and blocks.
        text = re.sub(r"<(code|pre)\b.*?</\1>", "", article, flags=re.DOTALL)
        assert not re.findall(r"<p>[^<]*\n(?:- |1\. |\| )|\| ---|```|\]\(", text), page
