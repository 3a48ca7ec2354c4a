"""Numbers for people: durations, sizes, shares."""

from evidence.errors import InvalidInput

_MINUTE, _HOUR = 60, 3600
_PRECISE_BELOW_S = 1.0
_SIZES = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SPANS = {"s": 1, "m": _MINUTE, "h": _HOUR, "d": 24 * _HOUR, "w": 7 * 24 * _HOUR}


def duration(seconds: float) -> str:
    """Return e.g. `0.6 s`, `48 s`, `3:41`, `1:02:03`."""
    if seconds < _PRECISE_BELOW_S:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    minutes, rest = divmod(whole, _MINUTE)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def age(seconds: float) -> str:
    """Return the largest whole unit, e.g. `12 s`, `3 min`, `5 h`, `2 d`."""
    for unit, length in (("d", 24 * _HOUR), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def size(count: int) -> str:
    """Return bytes in decimal units, three digits or so: `481 MB`, `41.2 MB`."""
    unit = next((u for u in ("TB", "GB", "MB", "kB") if count >= _SIZES[u]), "")
    if not unit:
        return f"{count} bytes"
    value = count / _SIZES[unit]
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"  # noqa: PLR2004 - three digits


def percent(share: float) -> str:
    """Return a share of 1, e.g. `98.71 %`."""
    return f"{100 * share:.2f} %"


def read_span(text: str) -> float:
    """Return the seconds of e.g. `90s`, `30m`, `12h`, `7d`, `2w`.

    Raises:
        InvalidInput: It is no such span.
    """
    number, unit = _split(text)
    if number is None or unit not in _SPANS:
        raise InvalidInput(f"expected a span such as 12h or 7d, found {text!r}", field="max-age")
    return number * _SPANS[unit]


def read_size(text: str) -> int:
    """Return the bytes of e.g. `500MB`, `10GB`, `1000`.

    Raises:
        InvalidInput: It is no such size.
    """
    number, unit = _split(text)
    factors = {name.lower(): factor for name, factor in _SIZES.items()}
    if number is None or unit.lower() not in factors:
        raise InvalidInput(f"expected a size such as 500MB, found {text!r}", field="max-bytes")
    return int(number * factors[unit.lower()])


def _split(text: str) -> tuple[float | None, str]:
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    unit = text[len(digits) :].strip()
    is_number = digits.replace(".", "", 1).isdecimal()
    return (float(digits) if is_number else None), unit
