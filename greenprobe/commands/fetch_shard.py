"""A process of `greenprobe fetch --processes N`: fetches the entries that come in on standard input.

The first frame is what the command was told. Lines of the output go back in frames, in batches of LATEST_S at the most,
and at the end the tally. Not for people: the command starts it.
"""

import os
import signal
import sys
from contextlib import closing
from typing import Any, Final

from greenprobe.commands.fetch_plan import choice_of, client_options, encoding_of, plan_of, trust_of
from greenprobe.engine.conditions import is_wanted
from greenprobe.engine.fdlimit import raise_limit
from greenprobe.engine.fetcher import Fetcher
from greenprobe.engine.fetchplan import FetchRecord
from greenprobe.engine.frames import FrameSource, frame_of
from greenprobe.engine.shards import ShardBatch, ShardReport
from greenprobe.engine.tally import Tally
from greenprobe.http.client import Client
from greenprobe.hub import get_hub

__all__ = ["main"]

MANY_BYTES: Final = 1 << 16
LATEST_S: Final = 0.05


class Reporting:
    """Collects what is done and sends it, when it is much or has waited for long enough."""

    def __init__(self, fd: int, words: dict[str, Any], fetcher: Fetcher) -> None:
        self._fd = fd
        self._fetcher = fetcher
        self._chosen = choice_of(words)
        self._encode = encoding_of(words)[1]
        self._keeps_numbers = bool(words["state"])
        self._numbers: list[int] = []
        self._lines: list[bytes] = []
        self._size_bytes = 0
        self._is_due = False
        self.tally = Tally()

    def add(self, batch: list[FetchRecord]) -> None:
        """Take a batch of records."""
        self.tally.add(batch)
        rows = [record.row() for record in batch]
        chosen = self._chosen
        if chosen.match or chosen.drop:
            rows = [row for row in rows if is_wanted(row, chosen.match, chosen.drop)]
            for row in rows:
                row.pop("body", None)
        data = b"".join([self._encode(row) for row in rows])
        if self._keeps_numbers:
            self._numbers += [record.line for record in batch]
        self._lines.append(data)
        self._size_bytes += len(data)
        if self._size_bytes >= MANY_BYTES:
            self.send()
        elif not self._is_due:
            self._is_due = True
            hub = get_hub()
            hub.timers.add(hub.clock() + LATEST_S, self._send_late)

    def send(self) -> None:
        """Send what waits."""
        batch = ShardBatch(self._numbers, b"".join(self._lines), self._fetcher.statistics())
        self._numbers, self._lines, self._size_bytes = [], [], 0
        self._write(batch)

    def finish(self) -> None:
        """Send what waits, and the last word."""
        self.send()
        self.tally.settle()
        self._write(ShardReport(self._fetcher.statistics(), self.tally))

    def _send_late(self) -> None:
        self._is_due = False
        if self._lines:
            self.send()

    def _write(self, value: object) -> None:
        rest = memoryview(frame_of(value))
        while rest:
            rest = rest[os.write(self._fd, rest) :]


def main() -> int:
    """Run a shard to its end and return the exit code."""
    hub = get_hub()
    source = FrameSource(hub, 0)
    words = source.first()
    raise_limit()
    options = client_options(words)
    plan = plan_of(words, options, choice_of(words))
    with closing(source), closing(Client(hub, options, trust=trust_of(words))) as client:
        fetcher = Fetcher(hub, plan, source, client)
        reporting = Reporting(1, words, fetcher)
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            with closing(fetcher.run()) as batches:
                for batch in batches:
                    reporting.add(batch)
        except KeyboardInterrupt:
            reporting.finish()
            return 130
        reporting.finish()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        os._exit(1)  # who started us is gone
