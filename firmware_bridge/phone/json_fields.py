"""Validation of JSON from a phone."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from firmware_bridge.stream import CodecError

LARGEST = 1e20
"""Bound of numbers: far beyond any time in nanoseconds and any sensor reading."""

XYZ = ("x", "y", "z")


def parse(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`. Raises `CodecError`, also for NaN and Infinity, which JSON does not allow."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise CodecError(f"not JSON: {str(error)[:80]}") from None
    if not isinstance(value, dict):
        raise CodecError(f"a JSON object was expected, not {type(value).__name__}")
    return value


def number(value: object) -> float:
    """`value` as a float, if it is a finite number. Raises `CodecError`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise CodecError(f"a number was expected, not {_brief(value)}")
    return float(value)


def triple(values: object, keys: tuple[str, str, str] = XYZ) -> tuple[float, float, float]:
    """The three numbers of an object at `keys`. Raises `CodecError`."""
    if not isinstance(values, dict):
        raise CodecError(f"an object with {', '.join(keys)} was expected, not {_brief(values)}")
    x, y, z = (number(values.get(key)) for key in keys)
    return x, y, z


def listed(value: object) -> list[Any]:
    """`value`, if it is a list. Raises `CodecError`."""
    if not isinstance(value, list):
        raise CodecError(f"a list was expected, not {_brief(value)}")
    return value


def _brief(value: object) -> str:
    return type(value).__name__ if isinstance(value, int | dict | list) else repr(value)[:40]


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
