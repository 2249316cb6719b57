"""How far a scan is, in a file: after a crash or kill -9 it goes on with nothing lost and nothing twice.

The file holds the whole scan (hosts, ports, order, options), which places of the order are written, and how many bytes
of output hold them. It is replaced as a whole after the output was flushed, so it never says more than the output has;
what the output has more is cut off when the scan goes on, and asked again. Where the output is made of all records at
the end, a file of JSON lines beside this one holds them meanwhile.
"""

import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic, time
from typing import Any, Final

import click

from greenprobe.engine.ledger import Ledger
from greenprobe.engine.scanplan import ScanPlan
from greenprobe.engine.targets import Hosts, Span, Targets

__all__ = ["ScanJournal"]

FORMAT: Final = "greenprobe scan 1"
INTERVAL: Final = 1.0  # seconds between two writings


class ScanJournal:
    """The file of one scan. `done` is None for a new one; `written` is how many bytes of output count."""

    def __init__(self, path: str, state: dict[str, Any] | None) -> None:
        self._path = path
        self.rows_path = f"{path}.rows"
        self._state = state or {}
        self._last = monotonic()
        self.is_new = state is None
        self.ledger = Ledger() if state is None else Ledger.of_state(state["ledger"])
        self.written = 0 if state is None else int(state["bytes"])

    @classmethod
    def open(cls, path: str) -> "ScanJournal":
        """Return the journal in `path`, or a new one if there is no file. Raises click.ClickException."""
        if os.path.exists(path) and not os.path.isfile(path):
            raise click.ClickException(f"{path} is no regular file; --resume needs one, which it replaces")
        try:
            with open(path, encoding="utf-8") as file:
                state = json.load(file)
            if state["format"] != FORMAT:
                raise KeyError("format")
            return cls(path, state)
        except FileNotFoundError:
            return cls(path, None)
        except OSError as exc:
            raise click.ClickException(f"cannot read {path}: {exc.strerror}") from exc
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise click.ClickException(f"{path} is no state of a scan; name another file, or remove it") from exc

    def begin(self, plan: ScanPlan, options: dict[str, Any]) -> None:
        """Keep what a new scan is."""
        hosts = plan.targets.hosts
        self._state = {
            "format": FORMAT,
            "hosts": [list(span) for span in hosts.spans],
            "names": hosts.names,
            "ports": _packed(plan.targets.ports),
            "seed": plan.targets.seed,
            "options": options,
            "started": time(),
        }
        self.save(0)

    @property
    def options(self) -> dict[str, Any]:
        """The options that the scan was begun with."""
        options: dict[str, Any] = self._state["options"]
        return options

    @property
    def started(self) -> float:
        """When the scan was begun, in seconds since 1970."""
        return float(self._state["started"])

    def targets(self) -> Targets:
        """Return the targets that the scan was begun with: names are not looked up again."""
        state = self._state
        hosts = Hosts([Span(*span) for span in state["hosts"]], names=state["names"])
        return Targets(hosts, _unpacked(state["ports"]), seed=state["seed"])

    def note(self, places: Iterable[int]) -> None:
        """Note that the records of some places were handed to the output."""
        add = self.ledger.add
        for place in places:
            add(place)

    def save_now_and_then(self, flush: Callable[[], int]) -> None:
        """Write the file if the last time is long ago; `flush` writes the output and returns its size in bytes."""
        if monotonic() - self._last >= INTERVAL:
            self.save(flush())

    def save(self, written: int) -> None:
        """Write the file. Raises click.ClickException."""
        self._last = monotonic()
        state = {**self._state, "bytes": written, "ledger": self.ledger.state()}
        beside = f"{self._path}.new"
        try:
            with open(beside, "w", encoding="utf-8") as file:
                json.dump(state, file)
            os.replace(beside, self._path)
        except OSError as exc:
            raise click.ClickException(f"cannot write to {self._path}: {exc.strerror}") from exc

    def finish(self) -> None:
        """Remove the files: nothing is left to do."""
        os.unlink(self._path)
        with suppress(FileNotFoundError):
            os.unlink(self.rows_path)


def _packed(ports: Any) -> list[int]:
    return [-1, ports.start, ports.stop] if isinstance(ports, range) else list(ports)


def _unpacked(ports: list[int]) -> Any:
    return range(ports[1], ports[2]) if ports[0] == -1 else tuple(ports)
