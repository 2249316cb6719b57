"""What eventlet's modules offer: every public name, and how it is called. Run as a program, it lists them.

`compat/api.txt` is the list of eventlet 0.41.3. A line is a name, and for what can be called its parameters: `name`,
`name=` where it may be left out, `*` and `**` for those that take any. Names that a module only imports are left out,
and so are those that a green module has from the standard library, whichever Python that is.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType
from typing import Any, Final

RECORDED: Final = Path(__file__).resolve().parent / "compat" / "api.txt"
LEFT_OUT: Final = re.compile(r"\.(zipkin|__main__|green\.http)\b")  # the last are copies of the standard library
SPECIAL: Final = frozenset(
    "__call__ __iter__ __next__ __enter__ __exit__ __getitem__ __len__ __bool__ __await__ __contains__".split()
)


def listing(root: str) -> Iterator[str]:
    """Yield a line for each public name of a package, module by module."""
    for module in modules(root):
        prefix = module.__name__.removeprefix(root).removeprefix(".")
        for name, value in own_names(module):
            path = f"{prefix}.{name}" if prefix else name
            yield path + parameters(value)
            if inspect.isclass(value):
                yield from (f"{path}.{line}" for line in members(value))


def modules(root: str) -> Iterator[ModuleType]:
    """Yield a package and what is in it, as far as that can be imported here."""
    package = import_module(root)
    yield package
    for info in sorted(walk_packages(package.__path__, root + ".", onerror=lambda _: None), key=lambda info: info.name):
        if not LEFT_OUT.search(info.name):
            try:
                yield import_module(info.name)
            except (ImportError, AttributeError):  # it needs an extra, or Python 2
                continue


def own_names(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield what a module offers by itself: what is made there, what `__all__` names, and constants."""
    is_package = hasattr(module, "__path__")
    exported = set(getattr(module, "__all__", ())) if ".green" not in module.__name__ else set()
    for name, value in sorted(vars(module).items()):
        if name.startswith("_") or isinstance(value, ModuleType):
            continue
        made_in = getattr(value, "__module__", None) or ""
        is_own = made_in == module.__name__ or (is_package and made_in.startswith(module.__name__))
        if is_own or name in exported or (made_in == "" and name.isupper() and ".green." not in module.__name__):
            yield name, value


def members(cls: type) -> Iterator[str]:
    """Yield a line for each public member that a class does not inherit."""
    for name in sorted(vars(cls)):
        if not name.startswith("_") or name in SPECIAL:
            yield name + parameters(getattr(cls, name))


def parameters(value: Any) -> str:
    """Return how something is called, "" if it cannot be, or cannot tell."""
    signature = signature_of(value)
    if signature is None:
        return ""
    return f"({', '.join(spelt(parameter) for parameter in signature.parameters.values() if parameter.name != 'self')})"


def signature_of(value: Any) -> inspect.Signature | None:
    """Return the signature of what can be called and tells."""
    try:
        return inspect.signature(value) if callable(value) else None
    except ValueError:
        return None


def spelt(parameter: inspect.Parameter) -> str:
    """Return a parameter as the list has it."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        return "*"
    if parameter.kind is parameter.VAR_KEYWORD:
        return "**"
    return parameter.name + ("" if parameter.default is parameter.empty else "=")


def can_be_called_so(function: Callable[..., Any], spelling: str) -> bool:
    """Tell whether every call that a spelling allows is one of `function`.

    Where anything may follow, as after a function whose arguments these are, parameters go by place and not by name.
    One that only passes on what it gets says nothing.
    """
    signature = signature_of(function)
    theirs = spelling.strip("()").split(", ") if spelling != "()" else []
    if signature is None or (theirs and "*" in theirs[0]):
        return True
    ours = [spelt(each) for each in signature.parameters.values() if each.name != "self"]
    named = [each for each in theirs if "*" not in each]
    if len(named) > len(ours) and "*" not in ours:
        return False
    if not all(each.endswith(("=", "*")) for each in ours[len(named) :]):
        return False
    by_place = len(named) < len(theirs) or "*" in ours
    return all(
        (by_place or mine.rstrip("=") == their.rstrip("=")) and mine.endswith("=") >= their.endswith("=")
        for mine, their in zip(ours, named, strict=False)
        if "*" not in mine
    )


if __name__ == "__main__":
    print("\n".join(listing(sys.argv[1])))  # noqa: T201
