"""A process of `greenprobe scan --processes N`: scans its part of the plan that it gets on standard input.

What it finds goes back in frames, in batches of LATEST_S at the most. Standard input stays open as long as the one who
started it lives: where it ends, so does this process. Not for people: the command starts it.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final, NamedTuple

from greenprobe.commands.output import Encoder, encoder
from greenprobe.commands.scan_options import ScanOptions
from greenprobe.commands.scan_sink import COLUMNS
from greenprobe.engine.examined import Batches, door_of, examined
from greenprobe.engine.frames import FrameReader, frame_of, write_frame
from greenprobe.engine.ledger import Ledger
from greenprobe.engine.probes.registry import Registry, load_probes
from greenprobe.engine.scan_shards import ScanBatch, ScanReport
from greenprobe.engine.scanner import Scanner
from greenprobe.engine.scanplan import ScanPlan, ScanRecord
from greenprobe.engine.services import Examiner
from greenprobe.errors import GreenprobeError
from greenprobe.greenthread import spawn
from greenprobe.hub import get_hub
from greenprobe.sync import Event

__all__ = ["ScanTask", "batches_of", "main"]

EXAMINED_AT_ONCE: Final = 256  # open ports
MANY_RECORDS: Final = 1000  # that do not wait for company
MOST_RECORDS: Final = 20_000
LATEST_S: Final = 0.05


class ScanTask(NamedTuple):
    """What a process is told: its part of the plan, and what is wanted of it.

    `ledger` is the state of what is done already. `format_name` is that of the lines, "" if the records are wanted;
    `processes` is how many there are.
    """

    plan: ScanPlan
    options: ScanOptions
    ledger: dict[str, Any] | None
    format_name: str
    processes: int

    def scanner(self) -> Scanner:
        """Return what runs the plan."""
        return Scanner(self.plan, done=None if self.ledger is None else Ledger.of_state(self.ledger))


def batches_of(scanner: Scanner, options: ScanOptions, *, processes: int = 1) -> Batches:
    """Return the records of a scan, with what speaks at open ports if that is asked for."""
    if not (options.asks_service or options.asks_banner):
        return scanner.batches()
    examiner = Examiner(Registry(load_probes(options.probes_file)), only_banner=not options.asks_service)
    concurrency = max(1, EXAMINED_AT_ONCE // processes)
    return examined(scanner.batches(), examiner.examine, door_of, concurrency=concurrency)


class Reporting:
    """Collects what is found; a greenthread of its own sends it, when it is much or has waited for long enough.

    Only that greenthread writes, so Ctrl-C in the main one never leaves half a frame.
    """

    def __init__(self, fd: int, task: ScanTask, scanner: Scanner) -> None:
        self._fd = fd
        self._scanner = scanner
        self._only_open = task.options.only_open
        self._keeps_places = task.options.resume is not None
        self._encode: Encoder | None = encoder(task.format_name, COLUMNS)[1] if task.format_name else None
        self._places: list[int] = []
        self._lines: list[bytes] = []
        self._records: list[ScanRecord] = []
        self._waiting = 0
        self._has_news = Event()
        self._has_room = Event()
        self._is_over = False
        os.set_blocking(fd, False)
        self._sender = spawn(self._send_all)

    def add(self, batch: list[ScanRecord]) -> None:
        """Take a batch of records; wait if this process is too far ahead of who reads."""
        if self._keeps_places:
            self._places += [record.place for record in batch]
        shown = [record for record in batch if record.state == "open"] if self._only_open else batch
        encode = self._encode
        if encode is None:
            self._records += shown
        else:  # at once: lines take a third of the memory
            self._lines.append(b"".join([encode(record.row()) for record in shown]))
        self._waiting += len(batch)
        self._has_news.set()
        while self._waiting > MOST_RECORDS:
            self._has_room.clear()
            self._has_room.wait()

    def finish(self, failure: str = "") -> None:
        """Send what waits, and the last word."""
        self._is_over = True
        self._has_news.set()
        self._sender.join()
        self._write(ScanReport(self._scanner.statistics(), failure))

    def _send_all(self) -> None:
        while not (self._is_over and not self._waiting):
            self._has_news.wait()
            self._has_news.clear()
            if self._waiting < MANY_RECORDS and not self._is_over:
                get_hub().sleep(LATEST_S)
            self._send()

    def _send(self) -> None:
        batch = ScanBatch(self._places, b"".join(self._lines), self._records, self._scanner.statistics())
        self._places, self._lines, self._records, self._waiting = [], [], [], 0
        self._has_room.set()
        self._write(batch)

    def _write(self, value: object) -> None:
        try:
            write_frame(get_hub(), self._fd, frame_of(value))
        except BrokenPipeError:
            os._exit(1)  # who started us is gone


def end_with(frames: Iterator[object]) -> None:
    """End this process where its input ends."""
    for _ in frames:
        pass
    os._exit(1)


def main() -> int:
    """Run a part of a scan to its end and return the exit code."""
    reader = FrameReader(get_hub(), 0)
    frames = reader.read()
    task: ScanTask | None = next(frames, None)
    if task is None:
        return 1  # who started us is gone
    watcher = spawn(end_with, frames)
    scanner = task.scanner()
    reporting = Reporting(1, task, scanner)
    failure, code = "", 0
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        with closing(batches_of(scanner, task.options, processes=task.processes)) as batches:
            for batch in batches:
                reporting.add(batch)
    except KeyboardInterrupt:
        code = 130
    except GreenprobeError as exc:
        failure, code = str(exc), 1
    reporting.finish(failure)
    watcher.kill()
    reader.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
