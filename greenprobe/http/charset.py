"""Text from the bytes of a body: byte order mark, header, meta element, and a guess that cannot fail.

The order is that of WHATWG: a byte order mark beats the header, the header beats the document. Only Python's text
codecs are ever used, so that a charset called `zlib` or `rot13` is nothing but an unknown name.
"""

import codecs
import re
from functools import lru_cache
from typing import Final

__all__ = ["decode_text", "find_charset"]

PRESCAN_BYTES: Final = 1024  # https://html.spec.whatwg.org/#prescan-a-byte-stream-to-determine-its-encoding
MARKS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# Labels that mean something else on the web than in Python: https://encoding.spec.whatwg.org/#names-and-labels
WEB_LABELS: Final = {
    "latin-1": "cp1252",
    "latin1": "cp1252",
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "us-ascii": "cp1252",
    "ascii": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "utf-16": "utf-16-le",
    "utf8": "utf-8",
}

_in_header = re.compile(r"charset\s*=\s*[\"']?([^\s;,\"']{1,40})", re.IGNORECASE).search
_in_document = re.compile(
    rb"<(?:meta|\?xml)[^>]{0,400}?(?:charset|encoding)\s*=\s*[\"']?([\w.:\-]{1,40})", re.IGNORECASE
).search


def find_charset(body: bytes, content_type: str | None) -> str:
    """Return the Python codec for a body, and what its Content-Type header says."""
    for mark, name in MARKS:
        if body.startswith(mark):
            return name
    named = _in_header(content_type) if content_type else None
    if named is not None and (codec := text_codec(named[1])) is not None:
        return codec
    written = _in_document(body[:PRESCAN_BYTES])
    if written is not None and (codec := text_codec(written[1].decode("ascii", "replace"))) is not None:
        return "utf-8" if codec.startswith("utf-16") else codec  # it cannot be: the element was read as ASCII
    return "utf-8" if is_utf8(body) else "cp1252"


def decode_text(body: bytes, content_type: str | None = None) -> str:
    """Return the text of a body; what cannot be decoded becomes the replacement character."""
    return body.decode(find_charset(body, content_type), "replace").removeprefix("\ufeff")


@lru_cache(256)
def text_codec(label: str) -> str | None:
    """Return the name of the text codec that a label means, None if there is none."""
    label = label.strip().lower()
    try:
        found = codecs.lookup(WEB_LABELS.get(label, label))
    except (LookupError, ValueError):
        return None
    is_for_text: bool = getattr(found, "_is_text_encoding", False)
    return found.name if is_for_text and found.name not in UNWANTED else None


UNWANTED: Final = frozenset({"idna", "punycode", "unicode_escape", "raw-unicode-escape", "undefined", "utf-7", "mbcs"})


def is_utf8(body: bytes) -> bool:
    """Tell whether a body, perhaps cut off in the middle of a character, is UTF-8."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(body)
    except UnicodeDecodeError:
        return False
    return True
