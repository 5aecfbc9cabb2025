"""Measure the keyword filter against public lists; not a test, run it by hand.

Each file holds one entry per line. Terms should be blocked, prompts should pass::

    python tests/measure_moderation.py --terms list.txt --prompts prompts.txt --show
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "functions"))

from pixelprompt.prompts.moderation.filter import ContentFilter

LEET = str.maketrans("aeios", "4310$")
CYRILLIC = str.maketrans("aeopcyxis", "аеорсухіѕ")


def by_word(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda term: " ".join(map(change, term.split()))


def stretched(word: str) -> str:
    vowel = next((letter for letter in word if letter in "aeiouy"), word[-1])
    return word.replace(vowel, vowel * 3, 1)


DISGUISES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "capitals": str.upper,
    "digits and signs": lambda term: term.translate(LEET),
    "full stops": by_word(".".join),
    "hyphens": by_word("-".join),
    "spelled out": lambda term: "   ".join(map(" ".join, term.split())),
    "letters repeated": by_word(stretched),
    "zero width": by_word("\u200b".join),
    "accents": by_word("\u0301".join),
    "Cyrillic": lambda term: term.translate(CYRILLIC),
    "full width": lambda term: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in term),
    "written as one": lambda term: term.replace(" ", ""),
}


def entries(path: Path) -> list[str]:
    return list(dict.fromkeys(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--terms", type=Path, nargs="*", default=[], help="files of terms that should be blocked")
    parser.add_argument("--prompts", type=Path, nargs="*", default=[], help="files of prompts that should pass")
    parser.add_argument("--frame", default="{}", help="prompt around each term, for example 'a photo of a {} woman'")
    parser.add_argument("--show", action="store_true", help="print the entries that were judged otherwise")
    options = parser.parse_args(arguments)
    blocked = ContentFilter().check_prompt
    for path in options.terms:
        terms = entries(path)
        print(f"{path.name}: {len(terms)} terms")
        for name, disguise in DISGUISES.items():
            missed = [term for term in terms if not blocked(options.frame.format(disguise(term)))]
            print(f"  {name:18}{1 - len(missed) / len(terms):7.1%}", " | ".join(missed) if options.show else "")
    for path in options.prompts:
        prompts = entries(path)
        began = time.process_time()
        alarms = [prompt for prompt in prompts if blocked(prompt)]
        milliseconds = (time.process_time() - began) * 1000 / len(prompts)
        print(f"{path.name}: {len(prompts)} prompts, {len(alarms)} blocked ({len(alarms) / len(prompts):.3%}),")
        print(f"  {milliseconds:.3f} ms each", *(alarms if options.show else ()), sep="\n  ")


if __name__ == "__main__":
    main()
