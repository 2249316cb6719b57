"""The one door to `library.py`: opened when something comes along that takes dnspython or idna.

Loading dnspython costs 50 ms of CPU, as much as looking up two thousand names, and most programs never need it: plain
names and plain replies are read by `wire.py`. So it is loaded late, here and nowhere else.
"""

from functools import lru_cache
from typing import cast

from greenprobe.dns.wire import TYPES, Question, Reply, question, read_plain
from greenprobe.errors import DnsFormError
from greenprobe.lazy import Lazy

__all__ = ["make_question", "read_reply", "to_ascii"]


library = Lazy("greenprobe.dns.library")


@lru_cache(maxsize=256)
def type_number(kind: str) -> int:
    """Return the number of a type of records. Raises ValueError if there is none of that name."""
    return TYPES.get(kind) or cast(int, library.type_number(kind))


def make_question(name: str, kind: str) -> Question:
    """Return the question for an ASCII name (its final dot optional, escapes allowed) and a type. Raises ValueError."""
    number = type_number(kind)
    try:
        return question(name, kind, number)
    except UnicodeEncodeError:
        raise ValueError(f"{name!r} is not ASCII") from None
    except ValueError:
        return cast(Question, library.ask(name, kind))


def read_reply(wire: bytes, asked: Question) -> Reply:
    """Return the reply to `asked` that `wire` holds. Raises DnsFormError if it is malformed, or to something else."""
    plain = read_plain(wire, asked)
    if plain is not None:
        return plain
    reply, about = library.read_reply(wire)
    if about is not None and (about[0].lower(), about[1]) != (asked.name.lower(), asked.type):
        raise DnsFormError(f"the reply is about {about[0]} {about[1]}")
    return cast(Reply, reply)


def to_ascii(host: str) -> str:
    """Return a name in ASCII. Raises ValueError if it is no name."""
    return host if host.isascii() else cast(str, library.to_ascii(host))
