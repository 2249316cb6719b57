"""Who waits where, read from the frames of parked greenlets: costs nothing until somebody asks.

A parked greenlet keeps its frames. The innermost ones are greenprobe's (what it waits in), the first one outside is
the user's (where it waits). No registry is kept on the hot path; the garbage collector knows every greenlet.
"""

import gc
import os
from collections.abc import Iterator
from types import FrameType

from greenlet import greenlet

__all__ = ["describe", "name_of", "parked", "root_of", "where"]

STARTERS = frozenset({"live"})  # below them there is nobody's code
PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def root_of(green: greenlet) -> greenlet:
    """Return the greenlet at the root of the tree: the one that the OS thread itself runs in."""
    while green.parent is not None:
        green = green.parent
    return green


def name_of(green: object) -> str:
    """Return the name a greenthread was given, "main" for a root, else one made of its address."""
    name = getattr(green, "name", None)
    if isinstance(name, str):
        return name
    if isinstance(green, greenlet) and green.parent is None:
        return "main"
    return f"{type(green).__name__}-{id(green):x}"


def parked(loop: greenlet) -> Iterator[greenlet]:
    """Yield every started greenlet of the tree of `loop` that is not running, without the loop itself."""
    root = root_of(loop)
    if root.gr_frame is not None:
        yield root  # which is old enough to be frozen where gc.freeze() is in use
    for thing in gc.get_objects():
        if not isinstance(thing, greenlet) or thing is loop or thing is root:
            continue
        if thing.gr_frame is not None and not thing.dead and root_of(thing) is root:  # a bare one may rest
            yield thing


def where(green: greenlet) -> str:
    """Say in one line what a parked greenlet waits in, and where in the user's code that is."""
    inner = green.gr_frame
    if inner is None:
        return "not started" if not green.dead else "over"
    outer: FrameType | None = inner
    last = inner
    while outer is not None and outer.f_code.co_filename.startswith(PACKAGE):
        if outer.f_code.co_qualname in STARTERS and outer is not inner:
            outer = None
        else:
            last, outer = outer, outer.f_back
    waits_in = last.f_code.co_qualname
    if outer is None:
        return f"waits in {waits_in}"
    if outer is inner:
        return f"switched away in {outer.f_code.co_qualname}, {outer.f_code.co_filename}:{outer.f_lineno}"
    return f"waits in {waits_in}, called by {outer.f_code.co_qualname}, {outer.f_code.co_filename}:{outer.f_lineno}"


def describe(loop: greenlet, most: int = 20) -> str:
    """Say who waits where in the tree of `loop`, a line each, `most` lines at most."""
    lines = [f"  {name_of(green)} {where(green)}" for green in parked(loop)]
    if len(lines) > most:
        lines[most:] = [f"  and {len(lines) - most} more"]
    return "\n".join(lines)
