"""Phones: apps that stream, and our own page in a phone's browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mujo_edge.core import UsageError, require_extra

if TYPE_CHECKING:
    from mujo_edge.sources.phone.base import PhoneSource

APPS = ("browser", "sensor-logger", "sensorserver", "phyphox")


def phone_source(
    app: str,
    *,
    url: str | None = None,
    host: str | None = None,
    port: int | None = None,
    rate_hz: float | None = None,
) -> PhoneSource:
    """The source of `app`. That of "browser" is also a `Sink`, which shows the label on the phone.

    Args:
        app: one of `APPS`. url: address of the app, for apps that serve on the phone.
        host, port: address of this machine, for the other apps. Loopback unless `host` is given.
        rate_hz: must be None, as the rate is set on the phone.

    Raises:
        UsageError: no such app, or an option that is missing or has no meaning for it.
        MissingExtraError: the extra `phone` is not installed.
    """
    if app not in APPS:
        raise UsageError(f"--phone {app}: choose one of {', '.join(APPS)}")
    if rate_hz is not None:
        raise UsageError("--rate has no meaning with --phone: the rate is set in the app, and measured here")
    calls = app in ("sensorserver", "phyphox")
    if calls and (host is not None or port is not None):
        raise UsageError(f"--host and --port have no meaning with {app}, which serves on the phone. Give --url")
    if not calls and url is not None:
        raise UsageError(f"--url has no meaning with {app}, which connects to this machine. Give --host and --port")
    if calls and url is None:
        example = "ws://192.168.1.20:8080" if app == "sensorserver" else "http://192.168.1.20:8080"
        raise UsageError(f"--phone {app} needs the address that the app shows, such as --url {example}")
    for module in ("aiohttp", "ifaddr", "segno", "trustme"):
        require_extra(module, "phone")
    if app == "browser":
        from mujo_edge.sources.phone.browser import BrowserSource

        return BrowserSource(host, port)
    if app == "sensor-logger":
        from mujo_edge.sources.phone.push import SensorLoggerSource

        return SensorLoggerSource(host, port)
    from mujo_edge.sources.phone.client import PhyphoxSource, SensorServerSource

    assert url is not None
    return SensorServerSource(url) if app == "sensorserver" else PhyphoxSource(url)
