"""Text from outside, made safe to show: nothing that steers a terminal, no key, nothing of the operator's account."""

import re

HIDDEN = "[hidden]"
# So many characters in a row of a key are a part of it, and not a word that it shares with a sentence.
KEY_PART = 8

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
_MASK = r"\*{2,}|•{2,}|●{2,}|\.{3,}|…|x{4,}|X{4,}"
_SECRETS = (
    # An echo of a header, or of a setting.
    r"(?i:\b(?:proxy-)?authorization|\b(?:x-|x-goog-|ocp-apim-)?(?:api|access|subscription|secret)[-_]?key|\bx-key)"
    r"['\"]?\s{0,3}[:=]\s{0,3}['\"]?(?i:(?:bearer|basic|token|key|aws4-hmac-sha256)\s{1,3})?[^\s,;'\"]{4,}",
    r"(?i:\bbearer\s{1,3}|\bbasic\s{1,3}(?=[\w+/]{0,64}[0-9A-Z=]))[\w\-.*…+/=]{4,}",
    r"(?i:sk-|AIza|\bkey-)[\w\-.*…]{4,}",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"[\w-]{0,20}(?:\*{3,}|•{3,}|●{3,})[\w-]{0,20}",
)
_UNIT = r"(?:organi[sz]ation|project|workspace|team|tenant|subscription|account|consumer|customer)"
# What is hidden, and what takes its place.
_ACCOUNT = (
    (r"\barn:[\w-]{2,20}:[^\s'\"<>]+", HIDDEN),
    (r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}", HIDDEN),
    # A link with an ID, a query, or a token leads to its host only.
    (
        r"(https?://[^\s/?#'\"<>]{1,253})(?=[^\s'\"<>]{0,2000}(?:[?#]|\d{4}|\borg[-_]|\bproj_|\bacct_|[/=]\w{20}"
        r"|organi[sz]ations?/|projects?/|accounts?/|teams?/|workspaces?/))[^\s'\"<>]+",
        rf"\1/{HIDDEN}",
    ),
    (r"\b(?:org|proj|acct|cus|wrkspc)[-_](?!wide\b|level\b|owned\b|based\b)[A-Za-z0-9_-]{3,}", HIDDEN),
    (r"\b(?:user|team|ws|req_org)[-_](?=[A-Za-z]{0,40}[0-9])[A-Za-z0-9_-]{6,}", HIDDEN),
    (r"(?<!\d)(?:\d{12}|\d{4}-\d{4}-\d{4})(?!\d)", HIDDEN),
    (r"(?i)\bprojects/[\w:.-]+", f"projects/{HIDDEN}"),
    (r"(?i)\b(project(?:[_ ](?:number|id))?['\"]?\s{0,2}[:= ]\s{0,2}['\"`]?)\d{6,}", rf"\1{HIDDEN}"),
    (
        rf"(?i)\b({_UNIT}(?:[_ ](?:name|id|number))?)\s{{0,2}}[:=]\s{{0,2}}['\"`]?[^.,;()\[\]'\"`\n]{{1,80}}",
        rf"\1: {HIDDEN}",
    ),
    (rf"(?i)\b({_UNIT}(?:[_ ](?:name|id|number))?) (['\"`])[^'\"`]{{1,80}}\2", rf"\1 {HIDDEN}"),
    (rf"(?i)\b({_UNIT}(?: (?:name|id|number))?) (?=[\w-]{{0,40}}\d)[\w-]{{4,}}", rf"\1 {HIDDEN}"),
    (
        r"(?i)\b((?:in|for|of|by) (?:the |your )?(?:organi[sz]ation|project|workspace|team)) "
        r"(?!\[hidden\])(?:[\w&.'-]{1,40} ){0,4}?[\w&.'-]{1,40}(?= on (?:tokens|requests|images|input)\b)",
        rf"\1 {HIDDEN}",
    ),
)  # fmt: skip


def visible(text: str, *, lines: bool = True) -> str:
    """Return the characters of a text that show what they are; without ``lines``, all white space is one blank."""
    # Half a surrogate pair cannot be encoded, so neither stored nor sent.
    text = text.encode(errors="replace").decode()
    # Compiled when it is first needed, and not on a cold start; ``re`` keeps it.
    text = re.sub(r"[\u2028\u2029\x85]", "\n", text)
    text = re.sub(_CONTROL, " " if not lines else "", re.sub(_SEQUENCE, "", text))
    return text if lines else " ".join(text.split())


def without_key(text: str, key: str | None = None) -> str:
    """Return a text without secrets, and without the key, its parts, and the forms in which providers mask it."""
    if key:
        # A short one may be part of a word.
        whole = re.escape(key) if len(key) >= KEY_PART else rf"(?<!\w){re.escape(key)}(?!\w)"
        text = _without_parts(re.sub(whole, HIDDEN, text), key)
    for pattern in _SECRETS:
        text = re.sub(pattern, HIDDEN, text)
    return text.replace(HIDDEN * 2, HIDDEN)


def _without_parts(text: str, key: str) -> str:
    parts = {key[i : i + KEY_PART] for i in range(len(key) - KEY_PART + 1)}
    shown: list[str] = []
    hidden_until = 0
    for place, character in enumerate(text):
        if text[place : place + KEY_PART] in parts:
            if place >= hidden_until:
                shown.append(HIDDEN)
            hidden_until = place + KEY_PART
        if place >= hidden_until:
            shown.append(character)

    def masked(found: re.Match[str]) -> str:
        head, tail = found["head"] or "", found["tail"] or ""
        is_key = (len(head) >= 2 and key.startswith(head)) or (len(tail) >= 3 and key.endswith(tail))
        return HIDDEN if is_key else found[0]

    text = re.sub(rf"(?P<head>[\w-]{{0,64}}?)(?:{_MASK})(?P<tail>[\w-]{{0,64}})", masked, "".join(shown))

    def quoted(found: re.Match[str]) -> str:
        return HIDDEN if key.startswith(found["end"]) or key.endswith(found["end"]) else found[0]

    # "the key ending in 'abcd'"
    return re.sub(r"(?i)\b(?:end|start|begin)\w{0,5} (?:in|with)\W{1,3}(?P<end>[\w-]{2,64})", quoted, text)


def without_account(text: str) -> str:
    """Return a text without what names the operator's account: IDs, names, e-mail addresses, ARNs, links with IDs."""
    for pattern, replacement in _ACCOUNT:
        text = re.sub(pattern, replacement, text)
    return text


def scrub(text: str, key: str | None = None) -> str:
    """Return a provider's text as callers may see it."""
    return without_account(without_key(text, key))
