"""Parts of a resource: whether the part that came is the one that was asked for. Source: RFC 9110, section 14."""

import re

from greenprobe.errors import ProtocolError
from greenprobe.http.trace import Trace

__all__ = ["check_range"]

_asked = re.compile(r"bytes=([0-9]{1,18})-([0-9]{1,18})?").fullmatch
_given = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/(?:[0-9]{1,18}|\*)").fullmatch


def check_range(value: str | None, trace: Trace) -> None:
    """Raise ProtocolError if a 206 was not asked for, or is another part than `value`, our Range, asked for.

    A server may leave a Range out of account and answer 200 with everything: look at the status before you append.
    Requests for several parts, or for the last bytes, are not checked.
    """
    if trace.status != 206:
        return
    if value is None:
        raise ProtocolError("the answer is a part (206), which was not asked for")
    asked = _asked(value.replace(" ", ""))
    if asked is None:
        return
    given = _given(trace.headers.get("content-range", ("",))[0])
    if given is None or given[1] != asked[1] or (asked[2] and int(given[2]) > int(asked[2])):
        shown = trace.headers.get("content-range", ("none",))[0]
        raise ProtocolError(f"the answer is the part {shown!r}, not the {value!r} that was asked for")
