"""Results of `resolve` as a zone file (RFC 1035, section 5.1): a line a record found, a comment for a name without.

What servers put into names and texts is in presentation format, so it has no line's end and no control character.
"""

from greenprobe.commands.output import terminal_safe
from greenprobe.engine.resolveplan import ResolveRecord

__all__ = ["zone_lines"]


def zone_lines(record: ResolveRecord) -> bytes:
    """Return the lines of a record, each whole; those of a name without answers begin with a semicolon."""
    lines = [
        f"{terminal_safe(name)}\t{ttl}\tIN\t{kind}\t{terminal_safe(data)}\n"
        for said in record.said
        for name, kind, ttl, data in said.answers
    ]
    if not lines:
        reason = "" if record.reason is None else f" ({terminal_safe(record.reason)})"
        lines = [f"; {terminal_safe(record.name)} {record.status}{reason}\n"]
    return "".join(lines).encode("utf-8", "backslashreplace")
