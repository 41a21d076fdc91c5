"""Dates in text: ISO 8601, and common forms where they can mean one day alone."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_TIME = (
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})"
    r"(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?)?"
)
# Databases write " UTC" and "+00" too.
_ZONE = r"(?P<zone>Z|z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)?"
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_MONTH = r"(?P<name>(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))[a-zA-Z]*\.?"
_MOST_FAILING = 10
_DAYS_OF_MONTHS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


@dataclass(frozen=True)
class _Form:
    shown: str
    """As people write it."""
    pattern: str
    """With groups for its parts."""


def _form(shown: str, day: str) -> _Form:
    return _Form(shown, rf"^{day}(?:[T ]+{_TIME} ?{_ZONE})?$")


_Y, _M, _D = r"(?P<year>[0-9]{4})", r"(?P<month>[0-9]{1,2})", r"(?P<day>[0-9]{1,2})"
_FORMS = (
    _form("YYYY-MM-DD", f"{_Y}-{_M}-{_D}"),
    _form("YYYY/MM/DD", f"{_Y}/{_M}/{_D}"),
    _form("DD.MM.YYYY", rf"{_D}\.{_M}\.{_Y}"),
    _form("MM/DD/YYYY", f"{_M}[/-]{_D}[/-]{_Y}"),
    _form("DD/MM/YYYY", f"{_D}[/-]{_M}[/-]{_Y}"),
    _form("Month DD YYYY", f"{_MONTH} {_D},? {_Y}"),
    _form("DD Month YYYY", f"{_D}[ -]{_MONTH}[ -]{_Y}"),
)
_MONTH_FIRST, _DAY_FIRST = _FORMS[3], _FORMS[4]


@dataclass(frozen=True)
class Dates:
    """What reading a column as dates gave; without values and odd ones it has none."""

    values: pa.ChunkedArray | None = None
    """The dates; None where it is not read so."""
    form: str = ""
    """How people write them, such as DD.MM.YYYY."""
    odd: pa.ChunkedArray | None = None
    """Which of a few values are no dates, where most are; else None."""
    note: str = ""
    """What to say of texts that may be dates and are not read so."""


def date_of(text: pa.ChunkedArray, present: pa.ChunkedArray) -> Dates:
    """Read a column as dates.

    Args:
        text: Its values, nulls where they are missing.
        present: Those that are there.
    """
    for form in _FORMS:
        if form is _DAY_FIRST:
            continue
        number = pc.sum(pc.match_substring_regex(present, form.pattern)).as_py()
        if not number:
            continue
        if number < len(present):
            fits = pc.match_substring_regex(text, form.pattern)
            return _with_odd(pc.invert(pc.fill_null(fits, True)), len(present))
        if form is _MONTH_FIRST:
            chosen = _order_of(present)
            if chosen is None:
                return Dates(
                    note=f"dates such as {present[0].as_py()} may begin with the day or with the "
                    "month, and are read as text; write YYYY-MM-DD"
                )
            form = chosen
        return _read(text, form, len(present))
    return Dates()


def _read(text: pa.ChunkedArray, form: _Form, number: int) -> Dates:
    """Return the dates of a column whose values are all written in a form."""
    parts = _parts(text, form)
    wrong = _is_wrong(parts)
    if not wrong.any():
        return Dates(_moments(parts), form.shown)
    if wrong.all():
        return Dates()
    example = text[int(np.flatnonzero(wrong)[0])].as_py()
    note = f"texts such as {example} are no dates, so that all are read as text; mend them"
    return replace(_with_odd(pa.chunked_array([wrong]), number), note=note)


def _with_odd(odd: pa.ChunkedArray, number: int) -> Dates:
    """Keep which values are no dates, where they are so few that they are rather mistakes."""
    num_odd = pc.sum(odd).as_py()
    is_few = num_odd * 10 <= number or (num_odd * 2 <= number and num_odd <= _MOST_FAILING)
    return Dates(odd=odd if is_few else None)


def _order_of(present: pa.ChunkedArray) -> _Form | None:
    parts = pc.extract_regex(present, _MONTH_FIRST.pattern)
    first = pc.max(_field(parts, "month")).as_py()
    second = pc.max(_field(parts, "day")).as_py()
    if first > 12 and second <= 12:
        return _DAY_FIRST
    if second > 12 and first <= 12:
        return _MONTH_FIRST
    return None


def _field(parts: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    text = pc.struct_field(parts, name)
    text = pc.if_else(pc.equal(text, ""), "0", text)
    return text.cast(pa.int64())


def _parts(text: pa.ChunkedArray, form: _Form) -> dict[str, Any]:
    """Return numbers of each part of the dates, as NumPy has them; 0 where one is missing."""
    parts = pc.extract_regex(text, form.pattern)
    names = ["year", "day", "hour", "minute", "second"]
    if "<name>" in form.pattern:
        words = pc.utf8_lower(pc.struct_field(parts, "name"))
        months = pc.add(pc.index_in(words, value_set=pa.array(_MONTHS)), 1)
    else:
        months = _field(parts, "month")
    fraction = pc.utf8_rpad(pc.struct_field(parts, "fraction"), 6, "0")
    columns = {
        **{name: _field(parts, name) for name in names},
        "month": months,
        "micros": pc.utf8_slice_codeunits(fraction, 0, 6).cast(pa.int64()),
        "zone": _zone_seconds(pc.struct_field(parts, "zone")),
    }
    arrays = {
        name: pc.fill_null(values.cast(pa.int64()), 0).to_numpy()
        for name, values in columns.items()
    }
    return {**arrays, "missing": pc.is_null(text).to_numpy()}


def _is_wrong(parts: dict[str, Any]) -> NDArray[np.bool_]:
    """Tell which are no day, such as 31 June, or no time of it."""
    year, month, day = parts["year"], parts["month"], parts["day"]
    is_leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    longest = _DAYS_OF_MONTHS[np.clip(month, 0, 12)] + (is_leap & (month == 2))
    wrong = (year < 1) | (month < 1) | (month > 12) | (day < 1) | (day > longest)
    for name, most in (("hour", 23), ("minute", 59), ("second", 59)):
        wrong |= parts[name] > most
    is_wrong: NDArray[np.bool_] = wrong & ~parts["missing"]
    return is_wrong


def _moments(parts: dict[str, Any]) -> pa.ChunkedArray:
    """Return microseconds since 1970 in UTC."""
    is_there = ~parts["missing"]
    year, month = (np.where(is_there, parts[name], 1) for name in ("year", "month"))
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]").astype(np.int64) + parts["day"] - 1
    seconds = days * 86_400 - parts["zone"]
    for name, length in (("hour", 3600), ("minute", 60), ("second", 1)):
        seconds += parts[name] * length
    micros = seconds * 1_000_000 + parts["micros"]
    return pa.chunked_array([pa.array(micros, mask=~is_there).cast(pa.timestamp("us"))])


def _zone_seconds(zone: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return how far zones are ahead of UTC; 0 where there is none."""
    digits = pc.replace_substring_regex(zone, r"[^0-9]", "")
    digits = pc.if_else(pc.equal(digits, ""), "0000", digits)
    digits = pc.utf8_rpad(digits, 4, "0")
    hours = pc.utf8_slice_codeunits(digits, 0, 2).cast(pa.int64())
    minutes = pc.utf8_slice_codeunits(digits, 2, 4).cast(pa.int64())
    seconds = pc.add(pc.multiply(hours, 3600), pc.multiply(minutes, 60))
    is_behind = pc.starts_with(zone, "-")
    return pc.if_else(is_behind, pc.negate(seconds), seconds)
