"""Dates in text: ISO 8601, and common forms where they can mean one day alone."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

_TIME = (
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})"
    r"(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?)?"
)
_ZONE = r"(?P<zone>Z|z|[+-][0-9]{2}:?[0-9]{2})?"
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_MONTH = r"(?P<name>(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec))[a-zA-Z]*\.?"
_MOST_FAILING = 10


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


def date_of(
    text: pa.ChunkedArray, present: pa.ChunkedArray
) -> tuple[pa.ChunkedArray | None, str, str]:
    """Read a column as dates.

    Args:
        text: Its values, nulls where they are missing.
        present: Those that are there.

    Returns:
        The dates, None where it has none; their form where it is not the first one of ISO 8601, or
        with no dates the pattern that most values fit and a few do not; and what to say of texts
        that may be dates and are not read so.
    """
    for form in _FORMS:
        if form is _DAY_FIRST:
            continue
        fits = pc.match_substring_regex(present, form.pattern)
        number = pc.sum(fits).as_py()
        if not number:
            continue
        num_other = len(present) - number
        if num_other:
            is_few = num_other * 10 <= len(present) or (
                num_other * 2 <= len(present) and num_other <= _MOST_FAILING
            )
            return None, form.pattern if is_few else "", ""
        if form is _MONTH_FIRST:
            chosen = _order_of(present)
            if chosen is None:
                return (
                    None,
                    "",
                    (
                        f"dates such as {present[0].as_py()} may begin with the day or with the "
                        "month, and are read as text; write YYYY-MM-DD"
                    ),
                )
            form = chosen
        values = _parsed(text, form)
        if values is None:
            return None, "", ""
        return values, "" if form is _FORMS[0] else form.shown, ""
    return None, "", ""


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


def _parsed(text: pa.ChunkedArray, form: _Form) -> pa.ChunkedArray | None:
    """Return microseconds since 1970 in UTC; None where a value is no day, such as 31 June."""
    parts = pc.extract_regex(text, form.pattern)
    year, day = (_field(parts, name) for name in ("year", "day"))
    if "<name>" in form.pattern:
        names = pc.utf8_lower(pc.struct_field(parts, "name"))
        month = pc.add(pc.index_in(names, value_set=pa.array(_MONTHS)), 1)
    else:
        month = _field(parts, "month")
    hour, minute, second = (_field(parts, name) for name in ("hour", "minute", "second"))
    days = _days(year, month, day)
    if days is None:
        return None
    bounds = ((hour, 23), (minute, 59), (second, 59))
    if any((pc.max(part).as_py() or 0) > most for part, most in bounds):
        return None
    seconds = pc.add(
        pc.multiply(days, 86_400),
        pc.add(pc.add(pc.multiply(hour, 3600), pc.multiply(minute, 60)), second),
    )
    fraction = pc.utf8_rpad(pc.struct_field(parts, "fraction"), 6, "0")
    micros = pc.utf8_slice_codeunits(fraction, 0, 6).cast(pa.int64())
    seconds = pc.subtract(seconds, _zone_seconds(pc.struct_field(parts, "zone")))
    return pc.add(pc.multiply(seconds, 1_000_000), micros).cast(pa.timestamp("us"))


def _days(
    year: pa.ChunkedArray, month: pa.ChunkedArray, day: pa.ChunkedArray
) -> pa.ChunkedArray | None:
    """Return days since 1970 by Arrow's own calendar, which refuses days that are none."""
    parts = [
        pc.utf8_lpad(part.cast(pa.string()), width, "0")
        for part, width in ((year, 4), (month, 2), (day, 2))
    ]
    written = pc.binary_join_element_wise(*parts, "-")
    try:
        dates = pc.strptime(written, format="%Y-%m-%d", unit="s")
        # It takes the 31st of June for the 1st of July.
        if not pc.all(pc.equal(pc.strftime(dates, format="%Y-%m-%d"), written)).as_py():
            return None
    except pa.ArrowInvalid:
        return None
    return pc.divide(dates.cast(pa.int64()), 86_400)


def _zone_seconds(zone: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return how far zones are ahead of UTC; 0 where there is none."""
    digits = pc.replace_substring_regex(zone, r"[^0-9]", "")
    digits = pc.if_else(pc.equal(digits, ""), "0000", digits)
    hours = pc.utf8_slice_codeunits(digits, 0, 2).cast(pa.int64())
    minutes = pc.utf8_slice_codeunits(digits, 2, 4).cast(pa.int64())
    seconds = pc.add(pc.multiply(hours, 3600), pc.multiply(minutes, 60))
    is_behind = pc.starts_with(zone, "-")
    return pc.if_else(is_behind, pc.negate(seconds), seconds)
