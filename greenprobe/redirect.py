"""`sys.stdout` of one context: what code prints goes to its own session, and everybody else's goes where it went.

Facts: there is one `sys.stdout`, `sys.stderr` and `sys.displayhook` a process. Choice: while anybody is redirected,
they are stand-ins that ask a context variable whose output this is. Greenthreads inherit the context of their spawner,
so what a session starts prints to the session, and nobody else notices. When the last one ends, the originals are back,
unless somebody else has put something of his own there meanwhile; a new redirection goes in front of that.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

__all__ = ["Output", "redirected"]


class Output(NamedTuple):
    """Where a context's output goes: `write(text)`, and the namespace in which `_` is the last value shown."""

    write: Callable[[str], object]
    names: dict[str, Any]


_output: ContextVar[Output | None] = ContextVar("greenprobe_output", default=None)
_redirections = 0
_originals: dict[str, Any] = {}
_standins: dict[str, Any] = {}


class Stream:
    """Stands in for `sys.stdout` or `sys.stderr`."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def write(self, text: str) -> int:
        """Write where the current context's output goes."""
        output = _output.get()
        if output is None:
            return self._original.write(text)  # type: ignore[no-any-return]
        output.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the process's own stream; a session's is never held back."""
        if _output.get() is None:
            self._original.flush()

    def isatty(self) -> bool:
        """Tell whether this is a terminal; a session is none."""
        return _output.get() is None and self._original.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def show(value: object) -> None:
    """Stand in for `sys.displayhook`: show a value at the prompt of the current context."""
    output = _output.get()
    if output is None:
        _originals["displayhook"](value)
    elif value is not None:
        output.names["_"] = None
        output.write(f"{value!r}\n")
        output.names["_"] = value


@contextmanager
def redirected(output: Output) -> Iterator[None]:
    """Send what the block prints, and what greenthreads print that it spawns, to `output`. Blocks may nest."""
    global _redirections
    _redirections += 1
    install()
    token = _output.set(output)
    try:
        yield
    finally:
        _output.reset(token)
        _redirections -= 1
        if not _redirections:
            uninstall()


def install() -> None:
    """Put the stand-ins in place, in front of what stands there now."""
    for name, make in STANDINS.items():
        current = getattr(sys, name)
        if current is not _standins.get(name):
            _originals[name] = current
            _standins[name] = make(current)
            setattr(sys, name, _standins[name])


def uninstall() -> None:
    """Put the originals back where the stand-ins still are."""
    for name, standin in _standins.items():
        if getattr(sys, name) is standin:
            setattr(sys, name, _originals[name])
    _standins.clear()


STANDINS: Final[dict[str, Callable[[Any], Any]]] = {
    "stdout": Stream,
    "stderr": Stream,
    "displayhook": lambda _: show,
}
