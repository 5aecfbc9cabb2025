"""From a text to every stretch of words it can be read as, with the usual disguises undone."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from functools import cached_property
from typing import Final

from pixelprompt.prompts.moderation.spelling import LETTERS, PREFIX, RUNS, fold, normalize, spells
from pixelprompt.prompts.moderation.terms import Terms

_SOFT: Final = "@$!|+*#(&%?"  # signs that also stand for a letter, or mask one
_LEET: Final = str.maketrans("0123456789@$!|+(€£¢", "oi2easgtbgasiitcelc")
_MASKS: Final = str.maketrans("*#@%?", "*****")
_NO_SOFT: Final = str.maketrans("", "", _SOFT)
_PIECES: Final = re.compile(r"[\w@$!|+*#(&%?€£¢]+")
_PARTS: Final = re.compile(r"[^\W_]+")
# A possessive or contraction ends its word, whichever apostrophe it is written with. ("n'u'd'e" is none.)
_CONTRACTION: Final = re.compile(r"(?<=[a-z]{2})'(?:s|t|d|m|re|ve|ll)\b|\b(?<=i)'(?:d|m|ve|ll)\b")
# No piece of a text holds it.
_END_OF_WORD: Final = "\x1f"
_APOSTROPHES: Final = str.maketrans(dict.fromkeys("\u2018\u2019\u201b\u02bc\u02bb\u02b9\u2032\uff07\u00b4`", "'"))
_LONE_SIGNS: Final = "@$!|+("  # a piece of signs only that begins with one of them is a word
# What may stand between two words of one clause; a comma, a bracket, a line break or any other sign begins another.
_JOINS: Final = " -\u2010'\"\u201c\u201d" + _END_OF_WORD
_MINUS: Final = re.compile(r"(?<!\w)-\w")
_PUNCTUATION: Final = str.maketrans(dict.fromkeys("\u2010\u2011\u2013\u2014\u201c\u201d\u2026", " "))
_TRIPLED: Final = re.compile(r"([a-z])\1\1")
_WIDEST_PIECE: Final = 4  # letters in a piece of a word split over more than two pieces
_MAX_PIECES: Final = 6


class Readings:
    """A prompt as words, and every stretch of them that reads as a word of the vocabulary.

    ``words`` are the plain words in order; ``edges[i]`` holds ``(j, word)`` for each way to read words i to j - 1;
    ``contracted`` are the positions of words with a possessive or a contraction, which no term goes beyond.
    """

    def __init__(self, terms: Terms, text: str) -> None:
        self._terms = terms
        self.words: list[str] = []
        self.edges: dict[int, list[tuple[int, str]]] = {}
        self.mixed: set[str] = set()  # words of letters and figures, as written
        self.contracted: set[int] = set()
        self._singles: list[tuple[int, str]] = []  # (position, letter) of one-character words
        text = normalize(text.translate(_APOSTROPHES), terms.letters).replace("_", " ")
        if "'" in text:
            text = _CONTRACTION.sub(_END_OF_WORD, text)
        self._text = text
        for match in _PIECES.finditer(text):
            piece = match[0]
            if text.startswith(_END_OF_WORD, match.end()):
                self.contracted.add(len(self.words))
            if piece.isalpha():
                self._read_plain(piece)
            elif piece.isalnum():
                self._read_leet(piece)
            else:
                self._read_signs(piece)
        self._read_fragments()
        self._read_split_words()
        self._read_spelled_out()

    def add(self, start: int, end: int, word: str) -> None:
        edges = self.edges.setdefault(start, [])
        if (end, word) not in edges:
            edges.append((end, word))

    @cached_property
    def clauses(self) -> Set[int]:
        """The positions of words that begin another clause; few prompts ask, so the text is then read once more."""
        beginnings: set[int] = set()
        position = last = 0
        for match in _PIECES.finditer(self._text):
            piece = match[0]
            gap = self._text[last : match.start()]
            if gap.strip(_JOINS) or ("-" in gap and gap != "-"):  # a dash is no hyphen
                beginnings.add(position)
            last = match.end()
            if piece.isalnum():
                position += 1
            else:  # a piece with signs is a clause of its own, and so is each word of it
                count = len(_PARTS.findall(piece)) or (piece[0] in _LONE_SIGNS)
                beginnings.update(range(position, position + count + 1))
                position += count
        return beginnings

    def is_plain(self) -> bool:
        """Whether the prompt holds, once normalized, only words, figures and common punctuation, and no "-statue"."""
        return self._text.translate(_PUNCTUATION).isascii() and not _MINUS.search(self._text)

    def _read_plain(self, word: str) -> None:
        position = len(self.words)
        self.words.append(word)
        if len(word) == 1:
            self._singles.append((position, word))
        if word in self._terms.vocabulary:
            self.edges[position] = [(position + 1, word)]
        elif word not in self._terms.harmless_words:
            self._read_spelling(position, position + 1, word)

    def _read_spelling(self, start: int, end: int, spelling: str) -> None:
        if len(spelling) == 1:
            if spelling in self._terms.vocabulary:
                self.add(start, end, spelling)
            return
        for word in self._terms.spellings.get(fold(spelling), ()):
            is_name = len(word) < 4 and len(spelling) == len(word) + 1 and word in self._terms.words  # such as "Jaap"
            if not is_name and spells(spelling, word):
                self.add(start, end, word)

    def _read_leet(self, piece: str) -> None:
        """Digits for letters, and digits put before or behind a word."""
        if piece.isdigit() and len(piece) > 1:
            self._read_plain(piece)
            return
        position = len(self.words)
        bare = piece.strip("0123456789")
        self.mixed.add(piece)
        self.words.append(bare if len(bare) > 1 else piece)
        if len(piece) == 1:
            self._singles.append((position, piece.translate(_LEET)))
        tail = piece.rstrip("0123456789")
        letters = sum(map(str.isalpha, piece))
        for spelling in (piece, bare, piece.translate(_LEET), tail.translate(_LEET)):
            if spelling in self._terms.harmless_words:
                continue
            if letters > 1 or spelling in (piece, bare) or spelling not in self._terms.words:  # "b00b5", but not "600k"
                self._read_spelling(position, position + 1, spelling)

    def _read_signs(self, piece: str) -> None:
        """Signs for letters (``@``), signs over letters (``*``) and signs between letters (``!``)."""
        start = len(self.words)
        parts = _PARTS.findall(piece)
        if not parts:
            if piece[0] in _LONE_SIGNS:
                self.words.append(piece)
                if len(piece) == 1:
                    self._singles.append((start, piece.translate(_LEET)))
                elif len(piece) <= self._terms.longest:
                    self._read_spelling(start, start + 1, piece.translate(_LEET).translate(_NO_SOFT))
            return
        if len(piece) > 3 * self._terms.longest:
            for part in parts:
                self._read_leet(part)
            return
        for part in parts:
            if part.isalpha():
                self._read_plain(part)
            else:
                self._read_leet(part)
        end = len(self.words)
        if piece.upper() == piece:  # figures and signs without a letter
            return
        piece = piece.lstrip("|*#(&%?")
        trimmed = piece.strip("!|+*#(&%?")
        for spelling in {piece, trimmed, trimmed.strip("$@"), piece.rstrip("!?")}:
            self._read_spelling(start, end, spelling)
            self._read_spelling(start, end, spelling.translate(_LEET).translate(_NO_SOFT))
            self._read_spelling(start, end, spelling.translate(_NO_SOFT).translate(_LEET))
            self._read_masked(start, end, spelling.translate(_MASKS))

    def _read_masked(self, start: int, end: int, spelling: str) -> None:
        hidden = spelling.count("*")
        if not 0 < 2 * hidden <= len(spelling):
            return
        for word in self._terms.masked.get((len(spelling), spelling[0], spelling[-1]), ()):
            if all(shown in ("*", letter) for shown, letter in zip(spelling, word, strict=True)):
                self.add(start, end, word)

    def _read_fragments(self) -> None:
        """Terms inside a longer word, for the few that have no harmless word around them."""
        text = " ".join(self.words)
        words: Sequence[str] = self.words
        if _TRIPLED.search(text):
            text = RUNS.sub(r"\1", text)
            words = text.split(" ")
        for fragment in self._terms.fragments:
            if fragment not in text:
                continue
            for position, word in enumerate(words):
                if fragment in word and self.words[position] not in self._terms.harmless_words:
                    self.add(position, position + 1, fragment)

    def _read_split_words(self) -> None:
        """A word broken into pieces: ``pu ssy``. Pieces that are words of their own (``shot a``) make no word."""
        words, known, longest = self.words, self._terms.words, self._terms.longest
        splits = self._terms.harmless_splits
        for start in range(len(words) - 1):
            joined = words[start]
            short = len(joined) <= _WIDEST_PIECE
            for end in range(start + 1, min(start + _MAX_PIECES, len(words))):
                if end - 1 in self.contracted:
                    break
                piece = words[end]
                joined += piece
                if len(joined) > longest:
                    break
                if joined in known and joined.isalpha():
                    pieces = tuple(words[start : end + 1])
                    if len(joined) > len(pieces) and pieces not in splits and not (end == start + 1 and piece in "ai"):
                        self.add(start, end + 1, joined)
                short = short and len(piece) <= _WIDEST_PIECE
                if not short:
                    break

    def _read_spelled_out(self) -> None:
        """Words spelled letter by letter: ``n u d e``, ``n.u.d.e``, ``n - u - d - e``."""
        singles = self._singles
        first = 0
        for index in range(1, len(singles) + 1):
            if index == len(singles) or singles[index][0] != singles[index - 1][0] + 1:
                if index - first > 2:
                    run = singles[first:index]
                    self._read_run(run)
                    letters = [single for single in run if self.words[single[0]] not in _SOFT]
                    if 2 < len(letters) < len(run):
                        self._read_run(letters)
                first = index

    def _read_run(self, run: Sequence[tuple[int, str]]) -> None:
        """Find words in a run of single letters that divides into words from end to end.

        ``a n u d e`` does; ``a n a l y s i s`` does not, although it begins with a term.
        """
        letters = "".join(letter for _, letter in run)
        if 3 * sum(self.words[position] == letter for position, letter in run) <= len(run):  # mostly figures and signs
            return
        folded = letters.replace("l", "i")
        groups = [(match.start(), match.end()) for match in LETTERS.finditer(folded)]
        shape = "".join(folded[start] for start, _ in groups)
        spellings, prefixes = self._terms.spellings, self._terms.prefixes
        longest, count = self._terms.longest, len(groups)
        reached = [False] * (count + 1)  # group boundaries that words from the run's start lead up to
        reached[0] = True
        found: list[tuple[int, int, str]] = []  # (first group, last group + 1, word, or "" for a lone letter)
        for start in range(count):
            if not reached[start]:
                continue
            if shape[start] in _LONE_LETTERS:
                reached[start + 1] = True
                found.append((start, start + 1, ""))
            reach = longest if shape[start : start + PREFIX] in prefixes else PREFIX - 1
            for end in range(start + 1, min(start + reach, count) + 1):
                for word in spellings.get(shape[start:end], ()):
                    if len(word) > 2 and spells(letters[groups[start][0] : groups[end - 1][1]], word):
                        reached[end] = True
                        found.append((start, end, word))
        leads_to_end = [False] * (count + 1)
        leads_to_end[count] = True
        for start, end, word in reversed(found):
            if leads_to_end[end]:
                leads_to_end[start] = True
                if word:
                    self.add(run[groups[start][0]][0], run[groups[end - 1][1] - 1][0] + 1, word)


_LONE_LETTERS: Final = frozenset("aiox")
