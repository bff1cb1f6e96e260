"""`mujo-edge doctor`."""

from __future__ import annotations

from typing import Any

from mujo_edge.cli.arguments import Bundle, Json, print_json


def doctor(bundle: Bundle = None, json: Json = False) -> None:
    """Versions, runtimes, adapters and a self-test of the bundle: what to paste into an issue."""
    from mujo_edge.core import DataError
    from mujo_edge.doctor import examine

    found = examine(bundle)
    if json:
        print_json(found)
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(show_header=False, box=None)
        for row in _doctor_rows(found):
            table.add_row(*map(Text, row))  # not as markup: a pip line has brackets
        Console().print(table)
    if found["problems"]:
        raise DataError("; ".join(found["problems"]))


def _doctor_rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(what, state, what to do) lines."""
    rows = [("mujo-edge", found["mujo_edge"], f"Python {found['python']}, {found['system']}")]
    for runtime in found["runtimes"]:
        state = runtime["version"] or "-"
        rows.append(
            (runtime["name"], state, f"{runtime['obstacle']}; {runtime['install']}" if runtime["obstacle"] else "ready")
        )
    for name, package in found["packages"].items():
        rows.append((name, package["version"] or "-", "" if package["version"] else package["install"]))
    for name in ("training", "pose"):
        rows.append((name, "ready" if found[name]["ready"] else "-", found[name]["detail"]))
    rows.append(("telemetry", "off" if found["telemetry"]["off"] else "on", found["telemetry"]["detail"]))
    ready = {True: "yes", False: "no", None: "?"}[found["bluetooth"]["ready"]]
    rows.append(("bluetooth", ready, found["bluetooth"]["detail"]))
    ports = [f"{port['port']} ({port['description']})" for port in found["serial_ports"]]
    rows.append(("serial ports", str(len(ports)), ", ".join(ports)))
    tested = found["bundle"]
    passed = ", ".join(f"{check['file']} in {check['runtime']} {check['snr_db']:.0f} dB" for check in tested["checks"])
    rows.append(
        (f"bundle {tested['name'] or ''}".strip(), "broken" if tested["error"] else "ok", tested["error"] or passed)
    )
    return rows
