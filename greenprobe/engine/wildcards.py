"""Whether an answer says anything about a name, or every name next to it has the same.

For each parent a name is asked for that nobody can have chosen; what it has, all have. That is remembered, and asked
once however many want to know. As servers may give some of a pool of addresses each time, it is PROBES names.
"""

from secrets import token_hex
from typing import Final

from greenprobe.engine.resolveplan import Said
from greenprobe.engine.resolving import AskOne
from greenprobe.greenthread import GreenThread, spawn

__all__ = ["Wildcards"]

PROBES: Final = 2
MAX_PARENTS: Final = 100_000


class Wildcards:
    """Compares answers with those of made-up names, asked by `ask_one`."""

    def __init__(self, ask_one: AskOne) -> None:
        self._ask_one = ask_one
        self._known: dict[tuple[str, str], GreenThread] = {}

    def is_wildcard(self, name: str, said: Said) -> bool:
        """Tell whether all the data of an answer is what a made-up name next to `name` has, too."""
        parent = name.rstrip(".").partition(".")[2].lower()
        if not parent:
            return False
        key = (parent, said.type)
        probe = self._known.get(key)
        if probe is None:
            if len(self._known) >= MAX_PARENTS:
                self._known.clear()
            probe = self._known[key] = spawn(self._probe, *key)
        everybodys: frozenset[str] = probe.wait()
        return bool(everybodys) and {record.data for record in said.answers} <= everybodys

    def _probe(self, parent: str, kind: str) -> frozenset[str]:
        """Return the data that made-up names have."""
        found: set[str] = set()
        for _ in range(PROBES):
            said = self._ask_one(f"{token_hex(8)}.{parent}", kind)
            if not said.answers:
                break
            found.update(record.data for record in said.answers)
        return frozenset(found)
