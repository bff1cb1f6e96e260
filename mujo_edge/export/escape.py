"""A bundle's text as it is written into each format of an export: it stays text there. One function a format.

JSON is written by `json`, CSV by `csv`. Names, versions and file names need no escaping: `mujo_edge.manifest` reads
only those that are plain.
"""

from __future__ import annotations

import re

SPECIAL = {mark: f"\\{mark}" for mark in "\\*[]~"} | {
    "<": "&lt;",
    ">": "&gt;",
    "|": "&#124;",  # a backslash does not keep it from ending the cell of a table
    "`": "&#96;",  # nor this from ending a code span
}

LINK = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&'()+,;=%-]+")

PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+")


def c_string(text: str) -> str:
    """A string literal of C99 and C++ with the UTF-8 of `text`; without `?`, so that it has no trigraph."""
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}" for byte in text.encode())
    return '"' + "".join(plain) + '"'


def c_comment(text: str) -> str:
    """`text` between `/*` and `*/`: printable ASCII, without an end or a beginning of a comment or a backslash."""
    plain = "".join(char if " " <= char <= "~" and char != "\\" else f"U+{ord(char):04X}" for char in text)
    return re.sub(r"\*(?=/)|/(?=\*)|\?(?=\?)", r"\g<0> ", plain)


def c_identifier(text: str) -> str:
    """What an identifier of C may hold, with `_` for everything else."""
    return re.sub(r"[^A-Za-z0-9]", "_", text)


def java_property(text: str) -> str:
    r"""A key or value for java.util.Properties.load: all but plain characters as \uXXXX, one or two UTF-16 units."""
    return "".join(
        char if char in PLAIN else "".join(f"\\u{unit:04x}" for unit in memoryview(char.encode("utf-16-le")).cast("H"))
        for char in text
    )


def markdown(text: str) -> str:
    """`text` within a paragraph or a cell of a table in GitHub's Markdown; on one line. A plain web address stays."""
    line = " ".join(text.split())
    if LINK.fullmatch(line):
        return line
    line = re.sub(r"&(?=#?\w+;)", "&amp;", line)
    line = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", "".join(SPECIAL.get(char, char) for char in line))
    # At the beginning of a line these would be a heading, a list or an underline.
    return re.sub(r"^(\d*)(?=[#+=.)-])", r"\1\\", line)
