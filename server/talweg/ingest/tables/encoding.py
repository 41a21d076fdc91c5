"""The character encoding of a text file."""

import codecs
from pathlib import Path

from talweg.ingest.problems import Problem, Refused, quoted

_PIECE = 1 << 22
_SAMPLE = 1 << 16
_BOMS = (
    # That of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What Windows writes where ISO-8859-1 has control characters, which no text holds.
_OF_WINDOWS = frozenset(range(0x80, 0xA0)) - {0x81, 0x8D, 0x8F, 0x90, 0x9D}
_UNDEFINED = frozenset({0x81, 0x8D, 0x8F, 0x90, 0x9D})
# Control characters that no text file holds; tab, line feed, form feed and carriage return are.
_BINARY = frozenset(range(32)) - {9, 10, 12, 13, 0x1A, 0x1B}
OF_ONE_BYTE = ("iso8859-1", "cp1252")
"""What text is read as that is no Unicode: any bytes are letters then, right or wrong."""
_ALLOWED = "text in UTF-8, UTF-16, UTF-32, Latin-1 or Windows-1252"


def encoding_of(path: Path, file_name: str, wanted: str) -> str:
    """Return the encoding of a text file; all of it can be decoded by that.

    Args:
        path: The file.
        file_name: As its owner calls it.
        wanted: By the options; empty to detect it.

    Raises:
        Refused: It is no text, or not of the encoding that was said.
    """
    if wanted:
        try:
            name = codecs.lookup(wanted).name
        except LookupError:
            raise Refused(
                Problem(
                    "options.encoding",
                    quoted(wanted),
                    "an encoding that is known, such as utf-8, utf-16, latin-1 or cp1252",
                )
            ) from None
        # Others make no text of bytes: rot13, base64, zip.
        if not codecs.lookup(wanted)._is_text_encoding:
            raise Refused(Problem("options.encoding", quoted(wanted), _ALLOWED))
        _decode(path, file_name, name)
        return name
    with path.open("rb") as file:
        sample = file.read(_SAMPLE)
    for bom, name in _BOMS:
        if sample.startswith(bom):
            _decode(path, file_name, name)
            return name
    name = _utf16_without_bom(sample)
    if name:
        _decode(path, file_name, name)
        return name
    _refuse_binary(sample, file_name)
    try:
        _decode(path, file_name, "utf-8")
    except Refused:
        return _of_one_byte(path, file_name)
    return "utf-8"


def _utf16_without_bom(sample: bytes) -> str:
    """Tell UTF-16 by the zeros that every other byte of Western text is."""
    half = len(sample) // 2
    if half < 2:
        return ""
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if odd > 0.7 * half and even < 0.1 * half:
        return "utf-16-le"
    if even > 0.7 * half and odd < 0.1 * half:
        return "utf-16-be"
    return ""


def _refuse_binary(sample: bytes, file_name: str) -> None:
    for position, byte in enumerate(sample):
        if byte in _BINARY:
            raise Refused(
                Problem(
                    f"{file_name}, byte {position + 1}",
                    f"binary data (byte 0x{byte:02x})",
                    _ALLOWED,
                    "if it is no CSV file, give it the ending of its format",
                )
            )


def _of_one_byte(path: Path, file_name: str) -> str:
    used: set[int] = set()
    position = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            used |= set(piece)
            if used & _BINARY:
                _refuse_binary(piece, file_name)
            position += len(piece)
    is_windows = used & _OF_WINDOWS and not used & _UNDEFINED
    return OF_ONE_BYTE[1 if is_windows else 0]


def _decode(path: Path, file_name: str, name: str) -> None:
    """Decode all of a file.

    Raises:
        Refused: It cannot be, or holds characters that no text has.
    """
    decoder = codecs.getincrementaldecoder(name)("strict")
    line = 1
    with path.open("rb") as file:
        while True:
            piece = file.read(_PIECE)
            try:
                text = decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as exc:
                # Bytes of the piece before may stand in front.
                line += exc.object[: exc.start].count(b"\n")
                wrong = exc.object[exc.start : exc.start + 4].hex(" ")
                raise Refused(
                    Problem(
                        f"{file_name}, line {line}",
                        f"bytes that are no {name}: {wrong}",
                        _ALLOWED,
                        "say the encoding by the option encoding, such as latin-1",
                    )
                ) from exc
            if "\0" in text:
                line += text[: text.index("\0")].count("\n")
                raise Refused(Problem(f"{file_name}, line {line}", "a NUL character", _ALLOWED))
            line += text.count("\n")
            if not piece:
                return
