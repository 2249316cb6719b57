"""Scan and examine at once: records flow through, those of open ports by way of an examiner.

A pump reads the scan's records; open TCP ports are examined in a pool of bounded size, so the scan waits where
examining does not keep up, and everything else passes on. An open port that was found is never lost: what was not
examined to the end when the scan is broken off comes out as it is.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from socket import AF_INET, AF_INET6
from typing import Any

from greenlet import GreenletExit

from greenprobe.engine.link import Door
from greenprobe.engine.scanplan import ScanRecord, Service
from greenprobe.engine.targets import scope_id_of
from greenprobe.greenthread import spawn
from greenprobe.pool import GreenPool
from greenprobe.queue import Queue

__all__ = ["Batches", "door_of", "examined"]

Batches = Generator[list[ScanRecord], None, None]


def examined(
    batches: Batches,
    examine: Callable[[Door], Service],
    door_of: Callable[[ScanRecord], Door],
    *,
    concurrency: int,
) -> Batches:
    """Yield the records of `batches`, with a service where a port is open."""
    flow = Flow(batches, examine, door_of, concurrency)
    pump = spawn(flow.pump)
    try:
        yield from flow.records()
    except KeyboardInterrupt:
        pump.kill()
        flow.pool.kill()
        yield flow.rest()
        raise
    finally:
        pump.kill()
        flow.pool.kill()


def is_door(record: ScanRecord) -> bool:
    """Tell whether a record is of a port that can be connected to."""
    return record.state == "open" and record.proto == "tcp"


def door_of(record: ScanRecord) -> Door:
    """Return the open port of a record as something to connect to."""
    ip, _, scope = record.ip.partition("%")
    family = AF_INET6 if ":" in ip else AF_INET
    tail = (0, scope_id_of(scope)) if scope else ()
    return Door(record.host.partition("%")[0], family, (ip, record.port, *tail), record.rtt or 0.0)


class Flow:
    """The pipe between pump, examiners and the reader."""

    def __init__(
        self,
        batches: Batches,
        examine: Callable[[Door], Service],
        door_of: Callable[[ScanRecord], Door],
        concurrency: int,
    ) -> None:
        self._batches = batches
        self._examine = examine
        self._door_of = door_of
        self._out: Queue[list[ScanRecord] | BaseException | None] = Queue()
        self._open: dict[int, ScanRecord] = {}
        self.pool = GreenPool(concurrency)

    def pump(self) -> None:
        """Read all records; put the plain ones out, have the open ones examined."""
        failure: BaseException | None = None
        try:
            with closing(self._batches) as batches:
                for batch in batches:
                    self._take(batch)
            self.pool.join()
        except GreenletExit:
            raise
        except BaseException as exc:  # raised where somebody listens: in `records`
            failure = exc
        self._out.put(failure)

    def _take(self, batch: list[ScanRecord]) -> None:
        found = [record for record in batch if is_door(record)]
        plain = [record for record in batch if not is_door(record)]
        if plain:
            self._out.put(plain)
        self._open.update((id(record), record) for record in found)
        for record in found:
            self.pool.spawn_n(self._examine_one, record)

    def _examine_one(self, record: ScanRecord) -> None:
        service = self._examine(self._door_of(record))
        del self._open[id(record)]
        self._out.put([record._replace(service=service)])

    def records(self) -> Iterator[list[ScanRecord]]:
        """Yield what comes out, until the end; raises what ended the scan."""
        while True:
            item = self._out.get()
            if isinstance(item, list):
                yield item
            elif item is None:
                return
            else:
                raise item

    def rest(self) -> list[ScanRecord]:
        """Return what is known and has not come out, examined or not."""
        found: list[ScanRecord] = []
        while not self._out.empty():
            item: Any = self._out.get_nowait()
            found.extend(item if isinstance(item, list) else [])
        return [*found, *self._open.values()]
