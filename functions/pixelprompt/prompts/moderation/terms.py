"""The word list, ``terms.json``, compiled into look-up tables."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec import Struct

from pixelprompt.prompts.moderation.spelling import PREFIX, fold, normalize

TERMS_FILE: Final = Path(__file__).with_name("terms.json")
# A negative prompt asks for less of what it names, but words of these kinds pass nowhere.
_JUDGED_IN_NEGATIVE: Final = ("sexual_minors", "hate")
# The words of a negative prompt for adults; on its own it blocks nothing.
ADULTS: Final = "adults"
_HARMLESS_IN_NEGATIVE: Final = ("exceptions", "harmless_words", "harmless_splits")


class Strength(IntEnum):
    """When a term counts, the widest first; in lower case these are the levels of the data file."""

    ALWAYS = 0
    ABOUT_PEOPLE = 1  # beside a word for a person, or alone
    ALONE = 2  # when nothing else is asked for
    WITH_MINORS = 3  # beside a word for a minor


_LEVELS: Final = {strength.name.lower(): strength for strength in Strength}


class Term(NamedTuple):
    """One entry of the word list; ``base`` is the uninflected form, which the exceptions refer to."""

    base: str
    category: str
    strength: Strength


Trie = dict[str, Any]  # word -> deeper trie; "" -> the Term that ends here


class Context(NamedTuple):
    """Surroundings in which some terms are harmless: *bare-breasted Amazon statue*, *a tit feeding its chicks*."""

    name: str
    terms: frozenset[str]  # the uninflected terms it is about
    before: Trie  # what may stand before the term, the last word first
    after: Trie  # what may stand after it
    between: frozenset[str]  # the only words that may come between the term and the above, or beside both
    company: frozenset[str]  # words of which the prompt must hold one; empty: it need not
    beside: Trie  # what the rest of the prompt may hold besides the scenery; the company is part of it


class Terms(Struct, frozen=True):
    """The word list, compiled into look-up tables by `compile_terms`."""

    words: Mapping[str, Term]  # the terms of one word
    phrases: Trie  # the terms of several words
    vocabulary: frozenset[str]  # every word that occurs in a term
    bases: Mapping[str, str]  # inflected form -> base
    spellings: Mapping[str, Sequence[str]]  # folded spelling -> words of the vocabulary
    prefixes: frozenset[str]  # first letters of the folded spellings
    masked: Mapping[tuple[int, str, str], Sequence[str]]  # (length, first, last letter) -> words of the vocabulary
    longest: int  # letters in the longest word
    exceptions: Trie
    guarded_exceptions: Trie
    contexts: tuple[Context, ...]
    scenery: Trie  # what may stand beside a guarded exception or a context; anything else voids it
    unless: Mapping[str, frozenset[str]]
    harmless_words: frozenset[str]
    harmless_splits: frozenset[tuple[str, ...]]
    fragments: Sequence[str]  # terms that count inside longer words too
    people: frozenset[str]
    minors: frozenset[str]
    minor_phrases: Trie
    frame: frozenset[str]
    categories: tuple[str, ...]  # the most serious first
    is_list: bool  # the text lists things, so an exception ends at a comma
    letters: Mapping[int, str | None]  # look-alike code point -> Latin letter


@cache
def load_negative_terms(path: Path = TERMS_FILE) -> Terms:
    """Likewise, what counts in a negative prompt; read when there is one."""
    data = json.loads(path.read_text(encoding="utf-8"))
    kept = {part: {name: data[part][name] for name in _JUDGED_IN_NEGATIVE} for part in ("categories", "fragments")}
    harmless = {part: [*data[part], *data["negative"][part]] for part in _HARMLESS_IN_NEGATIVE}
    categories = {**kept["categories"], **data["negative"]["categories"]}
    return compile_terms({**data, **kept, **harmless, "categories": categories}, is_list=True)


@cache
def load_terms(path: Path = TERMS_FILE) -> Terms:
    """Read and compile a word list; each file is read once per process."""
    return compile_terms(json.loads(path.read_text(encoding="utf-8")))


def compile_terms(data: Mapping[str, Any], *, is_list: bool = False) -> Terms:
    """Compile a word list, that of texts which list things or of others.

    ``docs/how-to/change-the-word-list.md`` describes its layout.

    Raises
    ------
    ValueError
        For an unknown level or kind of term, or an unknown part of a context.
    """
    letters: dict[int, str | None] = {
        ord(alike): letter for letter, alikes in data["confusables"].items() for alike in alikes
    }
    phrases: Trie = {}
    words: dict[str, Term] = {}
    bases: dict[str, str] = {}
    vocabulary: set[str] = set()
    for category, levels in data["categories"].items():
        for level, kinds in levels.items():
            if level not in _LEVELS:
                raise ValueError(f"Unknown level {level!r} under {category!r}; use one of {', '.join(_LEVELS)}.")
            for kind, entries in kinds.items():
                if kind not in _FORMS:
                    raise ValueError(f"Unknown kind {kind!r} under {category!r}; use one of {', '.join(_FORMS)}.")
                for entry in entries:
                    base = entry if entry.isascii() else normalize(entry, letters)
                    term = Term(base, category, _LEVELS[level])
                    for form in _FORMS[kind](base):
                        if " " in form:
                            path = form.split(" ")
                            vocabulary.update(path)
                            _plant(phrases, path, term)
                        elif (known := words.get(form)) is None or term.strength < known.strength:
                            words[form] = term
                            bases.setdefault(form, base)
    fragments: list[str] = []
    for category, entries in data["fragments"].items():
        for entry in entries:
            fragments.append(normalize(entry, letters))
            words.setdefault(fragments[-1], Term(fragments[-1], category, Strength.ALWAYS))
    vocabulary.update(words)
    ordered = list(vocabulary)
    spellings: dict[str, list[str]] = {}
    masked: dict[tuple[int, str, str], list[str]] = {}
    for word, key in zip(ordered, fold("\n".join(ordered)).split("\n"), strict=True):
        spellings.setdefault(key, []).append(word)
        if len(word) > 2:
            masked.setdefault((len(word), word[0], word[-1]), []).append(word)
    exceptions: dict[str, Trie] = {"exceptions": {}, "guarded_exceptions": {}}
    for kind, trie in exceptions.items():
        for exception in data[kind]:
            _plant(trie, [bases.get(word, word) for word in exception.replace(",", " ,").split(" ")], True)
    minor_phrases: Trie = {}
    for minor in data["minors"]:
        _plant(minor_phrases, minor.split(" "), True)
    scenery: Trie = {}
    for phrase in data["scenery"]:
        _plant(scenery, phrase.split(" "), True)
    return Terms(
        words=words,
        phrases=phrases,
        vocabulary=frozenset(vocabulary),
        bases=bases,
        spellings=spellings,
        prefixes=frozenset(key[:PREFIX] for key in spellings),
        masked=masked,
        longest=max(map(len, vocabulary), default=0),
        exceptions=exceptions["exceptions"],
        guarded_exceptions=exceptions["guarded_exceptions"],
        contexts=tuple(_compile_context(name, parts) for name, parts in data["contexts"].items()),
        scenery=scenery,
        unless={base: frozenset(context) for base, context in data["unless"].items()},
        harmless_words=frozenset(data["harmless_words"]),
        harmless_splits=frozenset(tuple(split.split(" ")) for split in data["harmless_splits"]),
        fragments=fragments,
        people=frozenset(data["people"]),
        minors=frozenset(minor for minor in data["minors"] if " " not in minor),
        minor_phrases=minor_phrases,
        frame=frozenset(data["frame"]),
        categories=tuple(data["categories"]),
        is_list=is_list,
        letters=letters,
    )


def _compile_context(name: str, parts: Mapping[str, Sequence[str]]) -> Context:
    known = [field for field in Context._fields if field != "name"]
    for part in parts:
        if part not in known:
            raise ValueError(f"Unknown part {part!r} of the context {name!r}; use one of {', '.join(known)}.")
    tries: dict[str, Trie] = {"before": {}, "after": {}, "beside": {}}
    for part, trie in tries.items():
        for phrase in (*parts.get(part, ()), *(parts.get("company", ()) if part == "beside" else ())):
            path = phrase.split(" ")
            _plant(trie, reversed(path) if part == "before" else path, True)
    return Context(
        name=name,
        terms=frozenset(parts["terms"]),
        before=tries["before"],
        after=tries["after"],
        between=frozenset(parts.get("between", ())),
        company=frozenset(parts.get("company", ())),
        beside=tries["beside"],
    )


def _plant(trie: Trie, path: Iterable[str], leaf: object) -> None:
    for word in path:
        trie = trie.setdefault(word, {})
    known = trie.setdefault("", leaf)
    if isinstance(known, Term) and isinstance(leaf, Term) and leaf.strength < known.strength:
        trie[""] = leaf


def _plural(word: str) -> str:
    if word[-1:] == "y" and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "z", "ch", "sh")) else "s")


def _noun_forms(word: str) -> tuple[str, ...]:
    return (word, _plural(word), word + "z")


def _verb_forms(word: str) -> tuple[str, ...]:
    stem = word.removesuffix("e")
    if re.fullmatch(r"[^aeiou]*[aeiou][bdgmnprt]", word):  # one syllable, one short vowel: the consonant doubles
        stem += word[-1]
    return (word, _plural(word), *(stem + ending for ending in ("ed", "er", "ers", "in", "ing", "ings")))


def _phrase_forms(phrase: str) -> tuple[str, ...]:
    head, _, last = phrase.rpartition(" ")
    joined = phrase.replace(" ", "")
    forms = (phrase, f"{head} {_plural(last)}") if last.isalpha() else (phrase,)
    return (*forms, joined, _plural(joined)) if len(joined) > 5 and joined.isascii() else forms


_FORMS: Final[Mapping[str, Callable[[str], tuple[str, ...]]]] = {
    "noun": _noun_forms,
    "verb": _verb_forms,
    "fixed": lambda word: (word,),
    "phrase": _phrase_forms,
}
