"""What a probe is: one declared constant a protocol, with a pure parser.

A parser is given all that the server has said so far, and whether that is all there will be. It answers with fields,
with MORE (it may be this protocol, say more), or with OTHER (it is not this protocol). When nothing more will come it
never answers MORE. It is fed whatever anybody on the network likes to send, so it raises nothing and keeps little: text
is cut to MAX_TEXT characters, lists to MAX_ITEMS.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

__all__ = ["MAX_ITEMS", "MAX_TEXT", "MORE", "OTHER", "Fields", "Heard", "Parse", "Probe", "Short", "take", "text_of"]

MAX_TEXT: Final = 256
MAX_ITEMS: Final = 64

Fields = dict[str, Any]


class Heard(Enum):
    """What a parser says when it has no fields."""

    MORE = "more"
    OTHER = "other"


MORE, OTHER = Heard.MORE, Heard.OTHER

Parse = Callable[[bytes, bool], Fields | Heard]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A protocol: how to make a server speak it, and how to read what it says.

    Who `greets` speaks first, and `hello` is what to answer; else `hello` is what to begin with (`{host}` in it is the
    host that is asked). `ports` are where it is expected, `secure_ports` where it is inside TLS and is called
    `secure_name`. `fields` says what the parser's fields mean. Who answers `starttls` with `starttls_ok` goes on in
    TLS, if the field `starttls` is true.
    """

    name: str
    about: str
    parse: Parse
    hello: bytes = b""
    greets: bool = False
    ports: tuple[int, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    secure_name: str = ""
    secure_ports: tuple[int, ...] = ()
    starttls: bytes = b""
    starttls_ok: bytes = b""


class Short(Exception):
    """There are fewer bytes than a structure needs. Stays inside of a parser."""


def take(data: bytes, start: int, size: int) -> bytes:
    """Return `size` bytes from `start` on; raises Short if there are fewer."""
    if size < 0 or start + size > len(data):
        raise Short
    return data[start : start + size]


def text_of(data: bytes) -> str:
    """Return bytes as text of bounded length: UTF-8 where it is, and what is not printable escaped."""
    text = data[: 4 * MAX_TEXT].decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)[:MAX_TEXT]
