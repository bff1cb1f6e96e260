"""`mujo-edge doctor`."""

from __future__ import annotations

from typing import Any

from mujo_edge.cli.arguments import Bundle, Json, print_json


def doctor(bundle: Bundle = None, json: Json = False) -> None:
    """Versions, runtimes, adapters and a self-test of the bundle: what to paste into an issue."""
    from mujo_edge.core import DataError
    from mujo_edge.doctor import examine

    report = examine(bundle)
    if json:
        print_json(report)
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(show_header=False, box=None)
        for row in _doctor_rows(report):
            table.add_row(*map(Text, row))  # not as markup: a pip line has brackets
        Console().print(table)
    if report["problems"]:
        raise DataError("; ".join(report["problems"]))


def _doctor_rows(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(what, state, what to do) lines."""
    rows = [("mujo-edge", report["mujo_edge"], f"Python {report['python']}, {report['system']}")]
    for runtime in report["runtimes"]:
        state = runtime["version"] or "-"
        rows.append(
            (runtime["name"], state, f"{runtime['obstacle']}; {runtime['install']}" if runtime["obstacle"] else "ready")
        )
    for name, package in report["packages"].items():
        rows.append((name, package["version"] or "-", "" if package["version"] else package["install"]))
    for name in ("training", "pose"):
        rows.append((name, "ready" if report[name]["ready"] else "-", report[name]["detail"]))
    rows.append(("telemetry", "off" if report["telemetry"]["off"] else "on", report["telemetry"]["detail"]))
    ready = {True: "yes", False: "no", None: "?"}[report["bluetooth"]["ready"]]
    rows.append(("bluetooth", ready, report["bluetooth"]["detail"]))
    ports = [f"{port['port']} ({port['description']})" for port in report["serial_ports"]]
    rows.append(("serial ports", str(len(ports)), ", ".join(ports)))
    tested = report["bundle"]
    passed = ", ".join(f"{check['file']} in {check['runtime']} {check['snr_db']:.0f} dB" for check in tested["checks"])
    rows.append(
        (f"bundle {tested['name'] or ''}".strip(), "broken" if tested["error"] else "ok", tested["error"] or passed)
    )
    return rows
