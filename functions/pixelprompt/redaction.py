"""Redaction of keys, secrets, account details, image data, and control characters that steer a terminal."""

import json
import re
from collections.abc import Iterable
from urllib.parse import unquote

HIDDEN = "[hidden]"
# So many characters in a row of a key are a part of it, and not a word that it shares with a sentence.
KEY_PART = 8
# So many at its head or its tail are, next to a mask or where the sentence says that they are its end.
_HEAD = 3
_TAIL = 4
# Escape sequences as a whole; controls but white space; what reorders text; what has no width. The joiners U+200C and
# U+200D stay: Persian, Hindi, and emoji are written with them.
_SEQUENCE = (
    r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,16}[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]{0,4000}(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]{0,16}[0-~]?"
)
_CONTROL = (
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    r"\ufff9-\ufffb\U000e0000-\U000e007f]"
)
# A character as it may be written in a URL or in JSON, with the joiners that follow it.
_CHARACTER = r"(?s)(%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|.)[\u200c\u200d]*"
_HYPHENS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d"), "-")
# What stands for the middle of a key: "...", "* * * *", "----", "xxx", "[REDACTED]", "<...>".
_MASK = (
    r" {0,2}(?:(?P<dot>[*•●∗·#.])(?: ?(?P=dot))+|(?P<line>[x_-])(?: ?(?P=line)){2,}|…"
    r"|\[[^\[\]\n]{1,20}\]|<[^<>\n]{1,20}>) {0,2}"
)
# "ending in 'abcd'", "last four: abcd", "prefix abcd", "last 4 characters of the key are abcd"
_NAMED_END = (
    r"\b(?:end|start|begin)\w{0,5}\b(?: (?:in|with))?\W{1,4}"
    r"|\b(?:last|first)(?: (?:three|four|five|six|\d{1,2}))?(?: (?:char(?:acter)?s?|digits|letters))?"
    r"(?: (?:of|in|the|your|api|key|is|are)){0,5}\W{1,4}"
    r"|\b(?:suffix|prefix)(?: is)?\W{1,4}"
)
# What introduces a key of any kind, and its shortest rest. The rest of a key has a digit, a mask, or a dot in it;
# a word has none.
_SECRETS = (
    # An echo of a header, or of a setting.
    (
        r"(?i:\b(?:proxy-)?authorization|\b(?:x-|x-goog-|ocp-apim-)?(?:api|access|subscription|secret)[-_]?key|\bx-key)"
        r"['\"]?\s{0,3}[:=]\s{0,3}['\"]?(?i:(?:bearer|basic|token|key|aws4-hmac-sha256)\s{1,3})?",
        6,
    ),
    (r"\b(?i:bearer|basic)\s{1,3}", 16),
    (r"(?<![A-Za-z0-9])(?:sk-|key-|pp_|xai-|gsk_|hf_|r8_|AIza|[sprk]k_(?:live|test)_)", 12),
    (r"\b(?:AKIA|ASIA)", 16),
)
_REST = r"[\w\-.*•●…+/=]+"
_STARS = r"(?P<head>[\w-]{0,40})(?P<stars>\*{3,}|•{3,}|●{3,})(?P<tail>[\w-]{0,40})"
_UNIT = r"(?:organi[sz]ation|project|workspace|team|tenant|subscription|account|acct|consumer|customer|resource group)"
_LABEL = r"(?:[_ ](?:name|id|number|no\.))?"
# How a sentence goes on that is about a member called "account" or "project", or about the account without its name.
_SENTENCE = (
    r"(?:has|have|had|is|are|was|were|must|may|can|cannot|could|should|does|do|did|not|no|field|input|value|extra|string"
    r"|required|missing|invalid|unknown|expected|unexpected|too|the|this|your|none|null|please|in|for|with|and|or|to)\b"
)
_ACCOUNT = (
    (r"\barn:[\w-]{2,20}:[^\s'\"<>]+", HIDDEN),
    # Those of the provider stay.
    (r"(?<![\w.+%-])(?!(?i:support|help)@)[\w.+%-]{1,64}@(?:…|[\w-]{1,63}(?:(?:\.[\w-]{1,63}){1,8}|\.?…))", HIDDEN),
    (r"\b(?:user|team|ws|req_org)[-_](?=[A-Za-z]{0,40}[0-9])[A-Za-z0-9_-]{6,}", HIDDEN),
    # An account of AWS, 12 digits, which any other number may have.
    (
        rf"(?i)\b({_UNIT}s?\b[^\d\n.]{{0,20}})(?<![\w-])(?:\d{{12}}|\d{{4}}([- ])\d{{4}}\2\d{{4}})(?![\w-])",
        rf"\1{HIDDEN}",
    ),
    (r"(['\"`])\d{12}\1", rf"\1{HIDDEN}\1"),
    # Nothing else is written so.
    (r"(?<![\w-])\d{4}-\d{4}-\d{4}(?![\w-])", HIDDEN),
    (r"(?i)\bprojects/[\w:.-]+", f"projects/{HIDDEN}"),
    (
        rf"(?i)\b({_UNIT}{_LABEL}|user[_ ]id)\s{{0,2}}[:=]\s{{0,2}}(?!\s|{_SENTENCE}|\[hidden\])['\"`]?"
        r"[^.,;()\[\]'\"`\n]{1,80}",
        rf"\1: {HIDDEN}",
    ),
    (rf"(?i)\b({_UNIT}{_LABEL}) (['\"`])[^'\"`]{{1,80}}\2", rf"\1 {HIDDEN}"),
    # By a digit; a resource group, whose names have none, by what it is called.
    (rf"(?i)\b({_UNIT}{_LABEL} ?)(?:#|(?<= ))(?=[\w-]{{0,40}}\d)[\w-]{{4,}}", rf"\1{HIDDEN}"),
    (rf"(?i)\b(resource group )(?!{_SENTENCE}|\[hidden\])[\w.-]+", rf"\1{HIDDEN}"),
    (
        rf"\b((?i:{_UNIT}) )(?:[A-Z][\w&'-]{{0,40}}[.,]{{0,2}} ){{1,5}}"
        r"(?=(?:is|has|was|does|must|may|cannot|lacks|exceeded|needs|not)\b)",
        rf"\1{HIDDEN} ",
    ),
    (
        r"(?i)\b((?:in|for|of|by) (?:the |your )?(?:organi[sz]ation|project|workspace|team)) "
        r"(?!\[hidden\])(?:[\w&.'-]{1,40} ){0,4}?[\w&.'-]{1,40}(?= on (?:tokens|requests|images|input)\b)",
        rf"\1 {HIDDEN}",
    ),
)  # fmt: skip
_ID = r"\b(?:org|proj|acct|cus|wrkspc)[-_]([A-Za-z0-9_-]{3,})"
_LINK = r"(?i)\b(https?)://([^\s'\"<>]*[^\s'\"<>.,;:!?)])"
# What in a link is an ID: a long number, a UUID, a token, what a list of accounts or a query leads to.
_LINKED_ID = (
    r"\d{5}|[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-|[A-Za-z0-9]{20}|@|%40|[?&;#][\w.-]{0,40}=[^&#]{0,200}[0-9A-Z%]"
    r"|(?i:[?&;#](?:organi[sz]ation|org|project|account|team|tenant|workspace|key|token|code|sig)(?:_?id)?=)"
    r"|(?i:/(?:organi[sz]ations|projects|accounts|teams|workspaces|tenants|users)/[^/?#])"
    r"|(?i:/(?:organi[sz]ation|project|account|team|workspace|tenant|user)/[^/?#]{0,60}[0-9])"
)


def visible(text: str, *, lines: bool = True) -> str:
    """Return the characters of a text that show what they are; without ``lines``, all white space is one blank."""
    # Half a surrogate pair cannot be encoded, so neither stored nor sent.
    text = text.encode(errors="replace").decode()
    # Compiled when it is first needed, and not on a cold start; ``re`` keeps it.
    text = re.sub(r"[\u2028\u2029\x85]", "\n", text)
    text = re.sub(_CONTROL, " " if not lines else "", re.sub(_SEQUENCE, "", text))
    return text if lines else " ".join(text.split())


def beginning(text: str, characters: int) -> str:
    """Return the beginning of a text; the ellipsis where it is cut makes half a key there a masked one."""
    return text if len(text) <= characters else text[:characters] + "…"


def scrub(text: str, key: str | None = None) -> str:
    """Return the sentence of a provider as callers may see it."""
    return without_account(without_secrets(without_key(text, key)))


def without_key(text: str, key: str | None) -> str:
    """Return a text without a key, its parts, and the forms in which providers mask it.

    Neither case counts, nor how a hyphen is written, nor the encoding of URLs and JSON. A server that hides the key it
    was sent on purpose, such as in reverse, isn't found out.
    """
    if not key:
        return text
    units = [found[0] for found in re.finditer(_CHARACTER, text)]
    hidden = _places_of_key(_folded(text), _folded(key))
    shown = []
    for place, unit in enumerate(units):
        if not hidden[place]:
            shown.append(unit)
        elif place == 0 or not hidden[place - 1]:
            shown.append(HIDDEN)
    return "".join(shown)


def _folded(text: str) -> str:
    """Return a text with one lower-case character for each match of ``_CHARACTER``."""
    return "".join(_folded_character(character) for character in re.findall(_CHARACTER, text))


def _folded_character(written: str) -> str:
    if len(written) == 3:
        written = unquote(written, "latin-1")
    elif len(written) == 6:
        written = chr(int(written[2:], 16))
    return written.lower() if written.isascii() else written.translate(_HYPHENS).lower()[0]


def _places_of_key(text: str, key: str) -> bytearray:
    """Return by place whether a character is of the key; both are folded."""
    hidden = bytearray(len(text))

    def hide(start: int, end: int) -> None:
        hidden[start:end] = b"\1" * (end - start)

    if len(key) < KEY_PART:
        # It may be part of a word.
        for found in re.finditer(rf"(?<!\w){re.escape(key)}(?!\w)", text):
            hide(*found.span())
        return hidden
    parts = {key[place : place + KEY_PART] for place in range(len(key) - KEY_PART + 1)}
    for place in range(len(text) - KEY_PART + 1):
        if text[place : place + KEY_PART] in parts:
            hide(place, place + KEY_PART)
    for mask in re.finditer(_MASK, text):
        start, end = mask.span()
        head, tail = _head_before(text, start, key), _longest_after(text, end, _tails(key))
        is_after_part = start > 0 and hidden[start - 1]
        if head >= _HEAD or tail >= _TAIL or (is_after_part and tail):
            hide(start - head, end + tail)
    for named in re.finditer(_NAMED_END, text):
        end = named.end()
        length = _longest_after(text, end, {*_tails(key), *_tails(key[: KEY_PART - 1]), *_heads(key)})
        if length >= _TAIL:
            hide(end, end + length)
    return hidden


def _heads(key: str) -> list[str]:
    """Return what a key may begin with, the longest first; what is longer is a part of it anyway."""
    return [key[:length] for length in range(KEY_PART - 1, 0, -1)]


def _tails(key: str) -> list[str]:
    return [key[-length:] for length in range(KEY_PART - 1, 0, -1)]


def _head_before(text: str, end: int, key: str) -> int:
    """Return how many characters before a place are the key's head."""
    ends = (len(head) for head in _heads(key) if text.endswith(head, 0, end))
    return next((length for length in ends if not text[end - length - 1 : end - length].isalnum()), 0)


def _longest_after(text: str, start: int, parts: Iterable[str]) -> int:
    """Return how many characters after a place are the longest of some parts of the key."""
    there = (start + len(part) for part in parts if text.startswith(part, start))
    return max((end - start for end in there if not text[end : end + 1].isalnum()), default=0)


def without_secrets(text: str) -> str:
    """Return a sentence without what looks like a key of any kind."""
    for introduction, shortest in _SECRETS:

        def secret(found: re.Match[str], shortest: int = shortest) -> str:
            rest = found["rest"]
            is_secret = len(rest) >= shortest and re.search(r"[0-9*•●…]|\.\.|\w\.\w", rest)
            return HIDDEN if is_secret else found[0]

        text = re.sub(rf"(?:{introduction})(?P<rest>{_REST})", secret, text)
    return re.sub(_STARS, _starred, text).replace(HIDDEN * 2, HIDDEN)


def _starred(found: re.Match[str]) -> str:
    """Hide what is masked, but no emphasis of Markdown, such as ``***word***``."""
    head, stars, tail = found.groups()
    is_masked = (head and tail) or re.search("[0-9]", head + tail) or (len(stars) > 3 and head + tail)
    return HIDDEN if is_masked else found[0]


def without_account(text: str) -> str:
    """Return a sentence without what names the operator's account: IDs, names, e-mail addresses, links with IDs."""
    text = without_ids(re.sub(_LINK, _link, text))
    for pattern, replacement in _ACCOUNT:
        text = re.sub(pattern, replacement, text)
    return text


def without_ids(text: str) -> str:
    """Return a text without IDs of organizations, projects, and accounts, such as ``org-AbC123``."""
    return re.sub(_ID, lambda found: HIDDEN if re.search("[0-9A-Z]", found[1]) else found[0], text)


def _link(found: re.Match[str]) -> str:
    """Return a link; one with an ID leads to its host only."""
    host = re.split("[/?#]", found[2], maxsplit=1)[0]
    if "@" in host:
        return HIDDEN
    path = found[2][len(host) :]
    is_private = re.search(_LINKED_ID, path) or re.search(_ID, path)
    return f"{found[1]}://{host}/{HIDDEN}" if is_private else found[0]


# A data URL, a run of base64 (not a path or an ID: those have one case, or short parts), such runs in lines, and bytes
# as Python or a hex dump shows them.
_MIXED = r"(?=[^\s-]{0,40}[A-Z])(?=[^\s-]{0,40}[a-z])(?=[^\s-]{0,40}[0-9])"
_DATA = re.compile(
    r"(?i:data:[a-z]+(?:/|%2F)[\w.+%-]+[;,][^\s\"'<>()]*)"
    rf"|{_MIXED}(?:[A-Za-z0-9+/\\]{{48,}}|[A-Za-z0-9_-]{{48,}})={{0,2}}|[A-Za-z0-9+/_-]{{120,}}={{0,2}}"
    r"|(?:[A-Za-z0-9+/\\]{32,}={0,2}\s+)+[A-Za-z0-9+/\\]{16,}={0,2}"
    r"|(?:\\x[0-9a-f]{2}[^\\\s]{0,8}){4,}|(?i:(?:\b[0-9a-f]{2}\b[\s,:]{0,2}){12,})"
)
# Characters of a message, and of a short text such as an ID.
MESSAGE_LIMIT = 300
MAX_FACT = 200
# Bytes of a message as JSON in ASCII, where an emoji has twelve: what Step Functions carries is limited in bytes.
_MESSAGE_BYTES = 1200
# Characters of a message that are looked at: ten times what it may have. It is scrubbed before it is cut to that.
MESSAGE_SOURCE = 4000


def clean(text: str, key: str | None = None, *, public: bool = False) -> str:
    """Return a provider's message as one line of at most `MESSAGE_LIMIT` characters, without secrets and image data.

    Parameters
    ----------
    key : hidden with its parts and masked forms
    public : whether callers may read the message, so that nothing of the operator's account stays in it
    """
    line = visible(beginning(text, MESSAGE_SOURCE), lines=False)
    line = _DATA.sub("[data]", scrub(line, key) if public else without_secrets(without_key(line, key)))
    return shortened(" ".join(line.split()), MESSAGE_LIMIT, _MESSAGE_BYTES)


def shortened(text: str, characters: int, size: int) -> str:
    """Return a text with at most so many characters, which JSON writes with at most ``size`` bytes."""
    if len(text) <= characters and len(text) * 12 <= size:
        return text
    short = text if len(text) <= characters else text[: characters - 1] + "…"
    while len(json.dumps(short)) > size:
        short = short[: len(short) * 9 // 10 - 1] + "…"
    return short
