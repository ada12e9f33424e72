"""Escape text of others before it is shown: control characters, bidirectional marks, what can't be seen.

This is the one place that says which characters those are; terminal, JSON, Markdown, HTML and YAML all ask it.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from unicodedata import category

# Persian and the scripts of India are misspelt without the joiners, and emoji fall apart.
_NEEDED = frozenset("\u200c\u200d")
# Letters and marks of no width, or of no ink, that Unicode counts as printable: fillers and the joiner of graphemes.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
# Selectors of variants, of which any number can hide behind one letter.
_SELECTORS = frozenset(map(chr, range(0xE0100, 0xE01F0)))
_OTHER_THAN_ASCII = re.compile(r"[^ -~]")


def printable(text: object, keep: str = "") -> str:
    """Return text in which what drives, turns or hides something, or can't be written, is an escape: ``\\u001b``.

    What comes from a file or from another machine goes through this before it is shown. Escapes are Unicode's control,
    format, surrogate, private and unassigned characters, its line and paragraph separators, tags, variation selectors
    of the supplement and fillers; spaces of any width stay, and so do the joiners that scripts need.

    Args:
        text: the text.
        keep: the line ends and tabs that stay.
    """
    return _OTHER_THAN_ASCII.sub(lambda found: found[0] if found[0] in keep else _shown(found[0]), str(text))


def printable_json(text: str) -> str:
    """Return JSON in which those characters are JSON's own escapes, so that it still reads as the same value."""
    return _OTHER_THAN_ASCII.sub(lambda found: found[0] if found[0] == "\n" else _in_json(found[0]), text)


def is_printable(text: str) -> bool:
    """Return whether a text is shown as it is, with no escape."""
    return printable(text) == text


@lru_cache(4096)
def _shown(char: str) -> str:
    if _is_seen(char):
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"


@lru_cache(4096)
def _in_json(char: str) -> str:
    return char if _is_seen(char) else json.dumps(char)[1:-1].replace("\x7f", "\\u007f")


def _is_seen(char: str) -> bool:
    if char in _NEEDED:
        return True
    kind = category(char)
    return kind[0] != "C" and kind not in ("Zl", "Zp") and char not in _BLANK and char not in _SELECTORS
