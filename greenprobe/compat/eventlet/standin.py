"""Stand in for eventlet: `import eventlet` and everything below it gives greenprobe's modules, and so do its metadata.

A finder in front of the others answers for the name `eventlet` and for `eventlet.*`: with the very modules of
`greenprobe.compat.eventlet`, imported when they are asked for, so that both names are one module. Programs that ask for
the version of the distribution `eventlet` are told which version's interface this is.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from greenprobe.compat.eventlet.hubs.choice import use_hub
from greenprobe.compat.eventlet.version import __version__
from greenprobe.lazy import Lazy

__all__ = ["install"]

NAME: Final = "eventlet"
OURS: Final = "greenprobe.compat.eventlet"
LIBC_ONLY: Final = "EVENTLET_NO_GREENDNS"

green_dns = Lazy("greenprobe.green_dns")


def install() -> None:
    """Make `import eventlet` give greenprobe's modules, in this process and from now on. Twice is once.

    Raises RuntimeError if eventlet itself was imported before: two of them cannot run in one process. A hub that
    EVENTLET_HUB names is looked up, as by `hubs.use_hub`; EVENTLET_NO_GREENDNS=yes has libc asked for names.
    """
    there = sys.modules.get(NAME)
    if there is not None and there.__name__ != OURS:
        raise RuntimeError(
            f"eventlet itself was imported before, from {there.__file__}; call install() before anything imports it"
        )
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())
    import_module(NAME)
    use_hub()
    if os.environ.get(LIBC_ONLY, "").lower() == "yes":
        green_dns.install("thread")


class Finder(MetaPathFinder):
    """Finds our modules under eventlet's names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load an eventlet module; None for others, and for what is not there."""
        if fullname != NAME and not fullname.startswith(NAME + "."):
            return None
        ours = OURS + fullname[len(NAME) :]
        spec = find_spec(ours)
        if spec is None:
            return None
        return ModuleSpec(fullname, Alias(ours), is_package=spec.submodule_search_locations is not None)

    def find_distributions(self, context: Any = None) -> Iterable[Distribution]:
        """Yield the distribution `eventlet`, when it is asked for by name or all are."""
        context = context if context is not None else DistributionFinder.Context()
        if context.name is None or context.name.lower() == NAME:
            yield StandIn()

    def invalidate_caches(self) -> None:
        """Do nothing: nothing is cached."""


class Alias(Loader):
    """Loads a module by importing it under its own name, and leaves it as it is."""

    def __init__(self, ours: str) -> None:
        self.ours = ours
        self.spec: Any = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return our module."""
        module = import_module(self.ours)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec back; it ran when it was imported."""
        module.__spec__ = self.spec


class StandIn(Distribution):
    """The metadata of the distribution that we stand in for."""

    def read_text(self, filename: str) -> str | None:
        """Return the name and the version, and no other file."""
        if filename != "METADATA":
            return None
        return f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {__version__}\nSummary: greenprobe's stand-in\n"

    def locate_file(self, path: Any) -> Any:
        """Return where a file would be: beside this one."""
        return Path(__file__).parent / path
