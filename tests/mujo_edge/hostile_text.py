"""Text that tries to become something else where it is written, and bundles that carry it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mujo_edge.manifest import NO_DIGEST, text_digest, write_manifest

VISIBLE = {
    "C comment": "*/ int x __attribute__((constructor)) /*",
    "C string": '"; int evil = 1; char *s = "',
    "C line": "a // b \\",
    "trigraph": "what??/",
    "quote": 'it\'s "quoted"',
    "backslash": "\\n \\u0022 \\",
    "template": "${bundle} $version $$",
    "JavaScript": "`${alert(1)}`",
    "HTML": "</script><img src=x onerror=alert(1)>",
    "entity": "&lt;b&gt; &#60;i&#62; &",
    "Markdown": "[link](javascript:alert(1)) ![pic](http://a.b/c) **bold** _it_ ~~no~~ # h",
    "Markdown line": "# heading",
    "table": "a | b || c",
    "path": "../../etc/passwd",
    "markup": "[red]red[/red] [/nope] :smile:",
    "format": "%s%n {0} {x!r}",
    "property": "a=b: #c !d",
    "prototype": "__proto__",
    "spaces": "größer\u00a0走る\u3000👨\u200d👩\u200d👧 می\u200cدود",
}
"""Printable text. Labels, titles and licenses may be that."""

HIDDEN = {
    "newline": "1.0\nincludes=evil.h",
    "carriage return": "a\rb",
    "tab": "a\tb",
    "NUL": "a\0b",
    "escape code": "\x1b]0;owned\x07\x1b[2J",
    "C1": "\x9b31mred",
    "delete": "a\x7fb",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "bidi override": "user\u202egnp.exe",
    "bidi isolate": "/*\u2067 } \u2066 */",
    "surrogate": "a\ud800b",
}
"""Text that a terminal or an editor does not show as it is. Nothing in a bundle may be that."""


def table_of(folder: Path) -> dict[str, Any]:
    """The bundle.json in `folder`, without what signs it."""
    table = json.loads((folder / "bundle.json").read_text("utf-8"))
    return {key: value for key, value in table.items() if key not in ("schema_version", "sha256", "files")}


def replaced(table: Any, path: str, value: object) -> Any:
    """A copy of a JSON tree with `value` at "a/0/b"; "a/b@" renames the key "b" to `value`."""
    head, _, rest = path.partition("/")
    if isinstance(table, list):
        return [replaced(each, rest, value) if rest and str(n) == head else value if str(n) == head else each
                for n, each in enumerate(table)]  # fmt: skip
    assert isinstance(table, dict)
    if head.endswith("@"):
        assert head[:-1] in table
        return {value if key == head[:-1] else key: each for key, each in table.items()}
    return table | {head: replaced(table[head], rest, value) if rest else value}


def sign(folder: Path, table: dict[str, Any]) -> None:
    """Write `table` as a bundle.json whose digests are right, lone surrogates included."""
    text = json.dumps(table)  # ASCII
    write_manifest(folder, json.loads(text.replace("\\ud800", "SURROGATE")))
    path = folder / "bundle.json"
    digest = json.loads(path.read_text("utf-8"))["sha256"]
    text = path.read_text("utf-8").replace("SURROGATE", "\\ud800").replace(digest, NO_DIGEST, 1)
    path.write_text(text.replace(NO_DIGEST, text_digest(text, NO_DIGEST), 1), "utf-8")
