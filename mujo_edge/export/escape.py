"""Escaping of a bundle's text for each format of an export, one function per format.

JSON is written by `json`, CSV by `csv`. Names, versions and file names need no escaping: `mujo_edge.bundle.manifest`
accepts only plain characters in them.
"""

from __future__ import annotations

import re

SPECIAL = {mark: f"\\{mark}" for mark in "\\*[]~"} | {
    "<": "&lt;",
    ">": "&gt;",
    "|": "&#124;",  # even with a backslash it would end a table cell
    "`": "&#96;",  # even with a backslash it would end a code span
}

LINK = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&'()+,;=%-]+")

PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+")


def c_string(text: str) -> str:
    """A C99 and C++ string literal with the UTF-8 of `text`; `?` is escaped, so that there is no trigraph."""
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}" for byte in text.encode())
    return '"' + "".join(plain) + '"'


def c_comment(text: str) -> str:
    """`text` for a C comment: printable ASCII, without backslashes and without `/*`, `*/` and `??`."""
    plain = "".join(char if " " <= char <= "~" and char != "\\" else f"U+{ord(char):04X}" for char in text)
    return re.sub(r"\*(?=/)|/(?=\*)|\?(?=\?)", r"\g<0> ", plain)


def c_identifier(text: str) -> str:
    """`text` as part of a C identifier, with `_` for every character that is not allowed."""
    return re.sub(r"[^A-Za-z0-9]", "_", text)


def java_property(text: str) -> str:
    r"""A key or value for java.util.Properties.load, with all but `PLAIN` characters as \uXXXX UTF-16 units."""
    return "".join(
        char if char in PLAIN else "".join(f"\\u{unit:04x}" for unit in memoryview(char.encode("utf-16-le")).cast("H"))
        for char in text
    )


def markdown(text: str) -> str:
    """`text` on one line for a paragraph or table cell of GitHub's Markdown. A plain web address stays a link."""
    line = " ".join(text.split())
    if LINK.fullmatch(line):
        return line
    line = re.sub(r"&(?=#?\w+;)", "&amp;", line)
    line = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", "".join(SPECIAL.get(char, char) for char in line))
    # At the beginning of a line these would be a heading, a list or an underline.
    return re.sub(r"^(\d*)(?=[#+=.)-])", r"\1\\", line)
