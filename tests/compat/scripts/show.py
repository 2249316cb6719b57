"""What the scripts share: print what a call returns or raises, in a form that two implementations can agree on."""

import contextlib
import io
from collections.abc import Callable
from typing import Any


def show(label: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Print the outcome of a call, and return what it returned."""
    try:
        result = function(*args, **kwargs)
    except BaseException as error:
        print(f"{label}: raised {type(error).__name__}")
        return None
    print(f"{label}: {result!r}" if is_plain(result) else f"{label}: a {type(result).__name__}")
    return result


def is_plain(thing: object) -> bool:
    """Tell whether the repr of a thing is the same everywhere."""
    if isinstance(thing, tuple | list | set):
        return all(is_plain(each) for each in thing)
    if isinstance(thing, dict):
        return all(is_plain(each) for pair in thing.items() for each in pair)
    return thing is None or isinstance(thing, bool | int | float | str | bytes)


@contextlib.contextmanager
def quiet() -> Any:
    """Keep the tracebacks that a hub prints out of sight; yields where they go."""
    with contextlib.redirect_stderr(io.StringIO()) as out:
        yield out
