"""Which records are wanted: conditions on a record and what was found in its body, read from words.

A condition is FIELD OPERATOR VALUE: `status=200,301-308`, `size>1000`, `type~html`, `title~(?i)login`, `words<10`,
`error=TlsError`, `header.server~nginx`. `=` and `!=` compare with any of the values between commas, numbers and ranges
where the field is a number; `<`, `>`, `<=`, `>=` compare numbers; `~` and `!~` search by a regular expression.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from greenprobe.errors import TargetError

__all__ = ["BODY_FIELDS", "Condition", "is_wanted", "read_condition"]

Row = Mapping[str, Any]
Test = Callable[[Any], bool]

# Where in a row the field is.
FIELDS: Final = {
    "status": "status",
    "size": "bytes",
    "type": "content_type",
    "url": "url",
    "final_url": "final_url",
    "error": "error.class",
    "message": "error.message",
    "time": "elapsed.total",
    "first_byte": "elapsed.first_byte",
    "title": "facts.title",
    "words": "facts.words",
    "lines": "facts.lines",
    "sha256": "facts.sha256",
    "simhash": "facts.simhash",
    "tech": "facts.tech",
    "body": "body",
}
BODY_FIELDS: Final = frozenset({"title", "words", "lines", "sha256", "simhash", "tech", "body"})
NUMBERS: Final = frozenset({"status", "size", "time", "first_byte", "words", "lines"})

_split = re.compile(r"([a-z0-9_]+(?:\.[A-Za-z0-9\-]+)?)\s*(!=|<=|>=|!~|=|<|>|~)\s*(.*)", re.DOTALL).fullmatch
_range = re.compile(r"([0-9.]+)-([0-9.]+)").fullmatch


class Condition(NamedTuple):
    """One condition: what it looks at, and the test on it."""

    field: str
    path: tuple[str, ...]
    test: Test

    def holds(self, row: Row) -> bool:
        """Tell whether a row fulfils it."""
        found: Any = row
        for key in self.path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return self.test(found)


def is_wanted(row: Row, match: tuple[Condition, ...], drop: tuple[Condition, ...]) -> bool:
    """Tell whether a row fulfils all of `match` and none of `drop`."""
    return all(condition.holds(row) for condition in match) and not any(condition.holds(row) for condition in drop)


def read_condition(text: str) -> Condition:
    """Return the condition that `text` is. Raises TargetError."""
    found = _split(text.strip())
    if found is None:
        raise TargetError(f"{text!r} is no condition; write FIELD=VALUE, FIELD<NUMBER or FIELD~REGEX, as in status=200")
    field, operator, value = found.groups()
    if field.startswith("header."):
        path: tuple[str, ...] = ("headers", field.removeprefix("header.").lower())
    elif field in FIELDS:
        path = tuple(FIELDS[field].split("."))
    else:
        raise TargetError(f"{text!r} names the field {field!r}; known are header.NAME, {', '.join(FIELDS)}")
    return Condition(field, path, _test(text, field, operator, value))


def _test(text: str, field: str, operator: str, value: str) -> Test:
    if operator.endswith("~"):
        return _searching(text, operator, value)
    if operator in {"<", ">", "<=", ">="}:
        if field not in NUMBERS:
            raise TargetError(f"{text!r} compares {field}, which is no number; use = or ~")
        return _comparing(operator, _number(text, value))
    wanted = _any_number(text, value) if field in NUMBERS else _any_text(value)
    return wanted if operator == "=" else lambda found: not wanted(found)


def _searching(text: str, operator: str, value: str) -> Test:
    try:
        search = re.compile(value).search
    except re.error as exc:
        raise TargetError(f"{text!r} has a broken regular expression: {exc}") from exc
    return lambda found: (found is not None and search(as_text(found)) is not None) != operator.startswith("!")


def _comparing(operator: str, limit: float) -> Test:
    compare: Callable[[Any], bool] = {
        "<": lambda found: found < limit,
        ">": lambda found: found > limit,
        "<=": lambda found: found <= limit,
        ">=": lambda found: found >= limit,
    }[operator]
    return lambda found: found is not None and compare(found)


def _any_number(text: str, value: str) -> Test:
    spans = []
    for word in value.split(","):
        span = _range(word.strip())
        low, high = span.groups() if span else (word, word)
        spans.append((_number(text, low), _number(text, high)))
    return lambda found: found is not None and any(low <= found <= high for low, high in spans)


def _any_text(value: str) -> Test:
    wanted = frozenset(word.strip() for word in value.split(","))
    return lambda found: bool(wanted & set(found)) if isinstance(found, (list, tuple)) else (found or "") in wanted


def _number(text: str, value: str) -> float:
    try:
        return float(value)
    except ValueError as exc:
        raise TargetError(f"{text!r} has {value!r} where a number belongs") from exc


def as_text(found: Any) -> str:
    """Return a value as a regular expression sees it."""
    return ", ".join(map(str, found)) if isinstance(found, (list, tuple)) else str(found)
