"""Validation of text from outside, such as a bundle's, and its safe display on a terminal."""

from __future__ import annotations

import re

HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that act instead of being shown: C0 and C1 controls, line and paragraph separators,
bidirectional embeddings, overrides and isolates; and lone surrogates, which no encoding can write. Joiners, direction
marks and the spaces of any script are allowed."""

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+-]{0,62}[A-Za-z0-9])?")
"""Names and versions, which are used in file names, C identifiers and properties files."""

PLACE = re.compile(r"(?:\w[\w ,.'()+-]{0,63})?")
"""A place on the body, in any script; "" for none."""

_PART = r"(?!\.{1,2}(?:/|\Z))[\w.+ -]+"
PATH = re.compile(rf"{_PART}(?:/{_PART})*")
"""Path of a file of a bundle, with `/` between folders; see `inside`."""

MAX_PATH = 200
"""Most characters of such a path, and bytes of a name in it; Windows takes 260 with the folder before it, Linux 255."""

LINES = re.compile(r"\r?\n|\t")


SUBSTITUTES = str.maketrans("█▓▒░━─·✓✗…—", "#%=.=-|+x.-")
"""ASCII characters for those of the live screen that an encoding may lack; a question mark stands for others."""


def substitute(error: UnicodeError) -> tuple[str, int]:
    """An error handler of `codecs` for terminals without UTF-8, see `SUBSTITUTES`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(SUBSTITUTES)
    return text.encode("ascii", "replace").decode(), error.end


def printable(text: str) -> str:
    """`text` with a question mark in place of every hidden character."""
    return HIDDEN.sub("?", text)


def shown(value: object) -> str:
    """A value for an error message: in ASCII, on one line, at most 80 characters."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def inside(path: str) -> bool:
    """Whether `path` stays in the folder it is relative to and is valid on every file system."""
    short = len(path) <= MAX_PATH and all(len(part.encode()) <= MAX_PATH for part in path.split("/"))
    return short and PATH.fullmatch(path) is not None


def checked(what: str, text: object, pattern: re.Pattern[str]) -> str:
    """`text` if it matches `pattern`. Raises `ValueError` otherwise."""
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise ValueError(f"{what} is {shown(text)}; allowed are letters, digits and a few marks between them")
    return text


def check_texts(what: str, tree: object, lines: bool = False) -> None:
    """Raise `ValueError` if a text or key in JSON has hidden characters. `lines`: allow line ends and tabs."""
    waiting = [(what, tree)]
    while waiting:
        what, value = waiting.pop()
        if isinstance(value, dict):
            for key in value:
                _check_text(f"a name in {what}", key, lines=False)
            waiting += [(f"{what}.{key}"[:100], part) for key, part in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{what}[{index}]"[:100], part) for index, part in enumerate(value)]
        elif isinstance(value, str):
            _check_text(what, value, lines)


def _check_text(what: str, text: str, lines: bool) -> None:
    if match := HIDDEN.search(LINES.sub(" ", text) if lines else text):
        raise ValueError(f"{what} has the hidden character {match[0]!a}: {shown(text)}")
