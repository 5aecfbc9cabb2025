"""From readings to the categories of the terms found among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Final

from pixelprompt.prompts.moderation.readings import Readings
from pixelprompt.prompts.moderation.terms import Context, Strength, Term, Terms, Trie


def most_serious(order: Iterable[str], categories: Set[str]) -> str | None:
    """The first of the categories in this order, or None."""
    return next((category for category in order if category in categories), None)


def categories_found(
    terms: Terms, readings: Readings, *, beside: Set[str] = frozenset(), about_minors: bool = False
) -> Set[str]:
    """The categories of the terms found in a text.

    ``beside`` are the words of a text about the same image, which may say that it shows people; ``about_minors`` says
    that it shows minors.
    """
    if not readings.edges:
        return frozenset()
    hits = [hit for hit in _hits(terms, readings) if not _is_exception(terms, readings, *hit)]
    if not hits:
        return frozenset()
    minors = shows_minors(terms, readings)
    if not minors and _are_harmless(terms, readings, hits):
        return frozenset()
    about_minors = about_minors or minors
    about_people = about_minors or not terms.people.isdisjoint(words_of(readings) | beside)
    covered = {position for start, end, _ in hits for position in range(start, end)}
    alone = not beside and all(
        position in covered or len(word) == 1 or word in terms.frame for position, word in enumerate(readings.words)
    )
    counts = {
        Strength.ALWAYS: True,
        Strength.ABOUT_PEOPLE: about_people or alone,
        Strength.ALONE: alone,
        Strength.WITH_MINORS: about_minors,
    }
    return {
        "sexual_minors" if about_minors and term.category == "sexual" else term.category
        for _, _, term in hits
        if counts[term.strength]
    }


def words_of(readings: Readings) -> Set[str]:
    """All words that stand in a text or that it may be read as."""
    return readings.mixed.union(readings.words, (word for edges in readings.edges.values() for _, word in edges))


def shows_minors(terms: Terms, readings: Readings) -> bool:
    """Whether a text names somebody who may be a minor."""
    return not terms.minors.isdisjoint(words_of(readings)) or _mentions(terms.minor_phrases, readings.words)


def _hits(terms: Terms, readings: Readings) -> Iterator[tuple[int, int, Term]]:
    for start, edges in readings.edges.items():
        for end, word in edges:
            if (term := terms.words.get(word)) is not None:
                yield start, end, term
        paths = [(start, terms.phrases)]
        while paths:
            position, trie = paths.pop()
            for end, word in readings.edges.get(position, ()):
                deeper = trie.get(word)
                if deeper is not None:
                    if "" in deeper:
                        yield start, end, deeper[""]
                    if len(deeper) > ("" in deeper) and end - 1 not in readings.contracted:
                        paths.append((end, deeper))


def _is_exception(terms: Terms, readings: Readings, start: int, end: int, term: Term) -> bool:
    words = readings.words
    context = terms.unless.get(term.base)
    if context is not None and not context.isdisjoint(words):
        return True
    clauses = readings.clauses if terms.is_list else frozenset()
    return _phrase_around(terms, terms.exceptions, words, start, end, clauses) is not None


def _phrase_around(
    terms: Terms, phrases: Trie, words: Sequence[str], start: int, end: int, clauses: Set[int] = frozenset()
) -> tuple[int, int] | None:
    """Where one of the phrases begins and ends that covers the words from start to end.

    Where one of the clauses begins within a phrase, the phrase must have a comma.
    """
    for begin in range(max(0, start - 4), start + 1):
        trie = phrases
        for position in range(begin, len(words)):
            if position in clauses and position > begin:
                trie = trie.get(",", {})
            trie = trie.get(terms.bases.get(words[position], words[position]), {})
            if not trie:
                break
            if "" in trie and position + 1 >= end:
                return begin, position + 1
    return None


_MAX_BETWEEN: Final = 3
_WIDEST_CONTEXT: Final = 8  # words on either side that are looked at
_ARTICLES: Final = frozenset(("a", "an", "the"))
_PREPOSITIONS: Final = frozenset(
    ("and", "at", "behind", "beside", "by", "covered", "for", "from", "in", "near", "on", "under", "with")
)


def _are_harmless(terms: Terms, readings: Readings, hits: Sequence[tuple[int, int, Term]]) -> bool:
    """Whether guarded exceptions and contexts explain all hits, and all the rest of the prompt is scenery."""
    words = readings.words
    if not readings.mixed <= terms.scenery.keys() or not readings.is_plain():
        return False
    contexts = [c for c in terms.contexts if not c.company or not c.company.isdisjoint(words)]
    clauses = readings.clauses
    explained: set[int] = set()
    scenery = {"": terms.scenery}
    for start, end, term in hits:
        span = _phrase_around(terms, terms.guarded_exceptions, words, start, end, clauses)
        if span is not None:
            explained.update(range(*span))
            continue
        if any(word not in terms.vocabulary for word in words[start:end]):  # a disguise
            continue
        first, last = start, end
        while first > 0 and first not in clauses and start - first < _WIDEST_CONTEXT:
            first -= 1
        while last < len(words) and last not in clauses and last - end < _WIDEST_CONTEXT:
            last += 1
        for context in contexts:
            if term.base in context.terms:
                reach = _context_around(context, words[first:start][::-1], words[end:last])
                if reach is not None:
                    explained.update(range(start - reach[0], end + reach[1]))
                    scenery[context.name] = context.beside
                    break
    return all(explained.issuperset(range(start, end)) for start, end, _ in hits) and all(
        position in explained
        or any(_phrase_around(terms, phrases, words, position, position + 1) for phrases in scenery.values())
        for position in range(len(words))
    )


def _context_around(context: Context, before: Sequence[str], after: Sequence[str]) -> tuple[int, int] | None:
    """Number of words before the term (the nearest first) and after it that a context explains, if it is met."""
    knows = context.between | _ARTICLES
    begin = _met(context.before, before, knows)  # "statue of a (nude woman)"
    end = _met(context.after, after, context.between)  # "(nude) marble statue"
    if not begin and not end:
        return None
    begin += _run(context.between, before[begin:])
    end += _run(context.between, after[end:])
    if end and after[end : end + 1] == ["of"]:  # "nude statue (of a goddess)", but not of anybody
        end += 1 + _run(knows, after[end + 1 :])
    return (begin, end) if end == len(after) or after[end] in _PREPOSITIONS else None


def _run(known: frozenset[str], words: Sequence[str]) -> int:
    """Number of known words at the start."""
    return next((index for index, word in enumerate(words) if word not in known), len(words))


def _met(phrases: Trie, words: Sequence[str], between: frozenset[str]) -> int:
    """Number of words to the end of the longest of the phrases, after a few words of ``between``; 0 for none."""
    for begin in range(min(_MAX_BETWEEN + 1, len(words))):
        trie = phrases
        longest = 0
        for position in range(begin, len(words)):
            trie = trie.get(words[position], {})
            if not trie:
                break
            if "" in trie:
                longest = position + 1
        if longest or words[begin] not in between:
            return longest
    return 0


def _mentions(phrases: Trie, words: Sequence[str]) -> bool:
    for start in range(len(words)):
        trie = phrases
        for word in words[start:]:
            trie = trie.get(word, {})
            if not trie:
                break
            if "" in trie:
                return True
    return False
