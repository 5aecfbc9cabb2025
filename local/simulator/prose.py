"""Answers of the simulated text models: a vivid description of a prompt, or YES or NO."""

from __future__ import annotations

import hashlib
import random
import re

FORBIDDEN_WORD = "forbidden-by-simulator"
DESCRIPTION_TOKENS = 92

_YES_OR_NO = re.compile(r"\banswer\s+(?:only|just)\s+(?:with\s+)?[\"'“]?yes[\"'”]?\s+or\s+[\"'“]?no\b", re.IGNORECASE)
_MARKED = re.compile(r"<(\w+)>(.+?)</\1>|\"\"\"(.+?)\"\"\"|```\n?(.+?)```", re.DOTALL)
_TWO_LINES = re.compile(r"^short:.*\n+long:", re.IGNORECASE | re.MULTILINE)
_LABELLED = re.compile(r"\b(?:prompt|text|description|request)\s*:\s*(.+)\Z", re.IGNORECASE | re.DOTALL)

_LIGHT = (
    "Low golden light spills in from the left and catches every edge",
    "Soft morning haze diffuses the light into pale gold and rose",
    "A clear blue twilight glows behind the scene while warm lamps answer it",
    "Broken clouds let single beams of sunlight wander across the view",
    "Cool moonlight silvers the outlines and leaves deep, quiet shadows",
)
_PLACE = (
    "the foreground is crisp with wet stone, moss and small fallen leaves",
    "layered hills fade into mist far behind the subject",
    "reflections tremble on still water in the lower third of the frame",
    "fine dust and drifting seeds hang in the warm air",
    "weathered wood, woven cloth and chipped paint give the surfaces a life of their own",
)
_COLOR = (
    "The palette moves from deep teal through ivory to burnt orange",
    "Muted greens and slate blues are lifted by one bold accent of vermilion",
    "Plum, copper and honey tones melt into each other",
    "Pearl greys and sea greens keep the mood calm, with a spark of amber",
)
_VIEW = (
    "seen from slightly below with a 35 mm lens and a shallow depth of field",
    "composed along a gentle diagonal, with generous empty space above",
    "framed at eye level, close enough to read every texture",
    "viewed from a high vantage point that reveals the whole setting",
)
_FINISH = (
    "Painterly detail, natural textures and a quiet sense of wonder complete the picture.",
    "Highly detailed, with balanced contrast, gentle film grain and a cinematic mood.",
    "Rich material detail, soft transitions and an inviting, dreamlike atmosphere throughout.",
)


def count_tokens(text: str) -> int:
    """About as many tokens as a text model would count."""
    return sum(1 if len(piece) <= 7 else 2 for piece in re.findall(r"\w+|[^\w\s]", text))


def shorten(text: str, tokens: int) -> str:
    """The beginning of a text, in whole words, within that many tokens."""
    words = text.split()
    while words and count_tokens(" ".join(words)) > tokens:
        words.pop()
    return " ".join(words)


def answer(instruction: str, message: str, model: str) -> str:
    """A text model's answer to a message under an instruction.

    A question to be answered only YES or NO is answered YES where the message contains FORBIDDEN_WORD. Anything else
    is taken as a prompt, bare or in an instruction's quotation, and described vividly in its own words, in two lines
    where it is asked for with "Short:" and "Long:".
    """
    if _YES_OR_NO.search(instruction) or _YES_OR_NO.search(message):
        return "YES" if FORBIDDEN_WORD in message.lower() else "NO"
    prompt = _prompt_in(message)
    description = describe(prompt, model)
    if _TWO_LINES.search(instruction) or _TWO_LINES.search(message):
        return f"Short: {description.partition('. ')[0]}.\nLong: {description}"
    return description


def describe(prompt: str, model: str) -> str:
    """A description of 90 to 100 tokens that contains the prompt; longer only where the prompt is."""
    choice = random.Random(int.from_bytes(hashlib.sha256(f"{model}\n{prompt}".encode()).digest()[:8], "big"))
    subject = " ".join(prompt.split()).rstrip(" .!,;")
    text = f"{subject[:1].upper()}{subject[1:]}, {choice.choice(_VIEW)}."
    finish = choice.choice(_FINISH)
    sentences = [
        f"{choice.choice(_LIGHT)}.",
        f"{choice.choice(_COLOR)}.",
        *(f"{place[:1].upper()}{place[1:]}." for place in choice.sample(_PLACE, len(_PLACE))),
        *(f"{light}." for light in choice.sample(_LIGHT, len(_LIGHT))),
    ]
    for sentence in sentences:
        longer = f"{text} {sentence}"
        if sentence in text or count_tokens(f"{longer} {finish}") > DESCRIPTION_TOKENS + 8:
            continue
        text = longer
        if count_tokens(f"{text} {finish}") >= DESCRIPTION_TOKENS:
            break
    text = f"{text} {finish}"
    for detail in ("Every detail stays sharp, calm and believable.", "Soft, airy depth.", "Warm, still air.", "Quiet."):
        if count_tokens(f"{text} {detail}") <= DESCRIPTION_TOKENS + 8 and count_tokens(text) < DESCRIPTION_TOKENS:
            text = f"{text} {detail}"
    return text


def _prompt_in(message: str) -> str:
    """The prompt inside a message: what is marked by tags or fences, or follows a label, or else all of it."""
    if marked := _MARKED.search(message):
        return next(group for group in marked.groups()[1:] if group).strip()
    if labelled := _LABELLED.search(message):
        return labelled.group(1).strip().strip("\"'“”")
    return message.strip()
