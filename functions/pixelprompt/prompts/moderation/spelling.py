"""Spellings of a word: look-alike letters, repeated letters, i for l."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

RUNS: Final = re.compile(r"(.)\1+")
_INVISIBLE: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")
PREFIX: Final = 4  # letters by which a search among the folded spellings is cut short


def normalize(text: str, letters: Mapping[int, str | None]) -> str:
    """Lower case without accents, invisible characters and look-alikes of Latin letters."""
    if text.isascii() and text.isprintable():
        return text.lower()
    text = unicodedata.normalize("NFKD", text)
    dropped: dict[int, str | None] = {}
    for character in set(text):
        if character.isspace():
            dropped[ord(character)] = "\n" if character.splitlines() == [""] else " "
        elif character in _INVISIBLE or unicodedata.category(character) in ("Mn", "Me", "Cf", "Cc"):
            dropped[ord(character)] = None
    return text.translate(dropped).translate(letters).casefold().translate(letters)


def fold(word: str) -> str:
    """Common form of all spellings of a word that differ in repeated letters, or in i for l."""
    return RUNS.sub(r"\1", word.replace("l", "i"))


def spells(spelling: str, word: str) -> bool:
    """Whether the spelling is the word with letters repeated, or with i for l."""
    if len(spelling) == len(word):
        return spelling.replace("l", "i") == word.replace("l", "i")
    at = 0
    for run in LETTERS.finditer(word):
        letter, least = run[0][0], at + len(run[0])
        while at < len(spelling) and spelling[at] == letter:
            at += 1
        if at < least:
            return False
    return at == len(spelling)


LETTERS: Final = re.compile(r"(.)\1*")
