"""The client against a server that misbehaves in every way we know: the right verdict, in bounded time and memory."""

import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from hostile import CASES, Case, hostile_server
from warcio.archiveiterator import ArchiveIterator

from greenprobe.commands.warc import ExchangeWriter
from greenprobe.errors import FetchError, ReadTimeout, TotalTimeout
from greenprobe.greenthread import spawn
from greenprobe.http.client import Client
from greenprobe.http.options import ClientOptions
from greenprobe.http.recorded import RecordedTrace
from greenprobe.http.trace import Trace
from greenprobe.http.urls import read_url
from greenprobe.hub import Hub

LIMITS = ClientOptions(max_body_bytes=1 << 21)
# Of what has to end with a timeout; everything else has the time that it takes on this machine.
SHORT: dict[Any, dict[str, Any]] = {ReadTimeout: {"read_timeout": 0.12}, TotalTimeout: {"total_timeout": 0.4}}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with hostile_server() as port:
        yield port


@contextmanager
def clients(options: ClientOptions) -> Iterator[dict[object, Client]]:
    """Yield the client for each verdict of the table."""
    with ExitStack() as stack:
        patient = stack.enter_context(Client(options))
        hasty = {good: stack.enter_context(Client(replace(options, **SHORT[good]))) for good in SHORT}
        yield {case.good: hasty.get(case.good, patient) for case in CASES}


def outcome_of(client: Client, port: int, case: Case) -> object:
    """Return what came of a case, in the table's terms."""
    return outcome(client, Trace(read_url(f"http://127.0.0.1:{port}/{case.name}")))


def outcome(client: Client, trace: Trace) -> object:
    """Return what came of a fetch."""
    try:
        client.fetch(trace)
    except FetchError as exc:
        return type(exc)
    return trace.status, trace.size_bytes


@pytest.mark.slow
def test_every_misbehaviour_gets_its_verdict_and_the_pool_is_sound_afterwards(hub: Hub, port: int) -> None:
    """Slow: a hundred and fifty conversations, some of which last as long as the total timeout."""
    with clients(LIMITS) as by_verdict:
        found = {case.name: outcome_of(by_verdict[case.good], port, case) for case in CASES}
        assert found == {case.name: case.good for case in CASES}
        for client in by_verdict.values():
            statistics = client.lanes.statistics()
            assert (statistics.busy, statistics.waiting) == (0, 0)
        assert outcome_of(by_verdict[200, 2], port, CASES[-1]) == (200, 2)


@pytest.mark.slow
def test_who_records_for_an_archive_finds_the_same_and_the_archive_is_right(hub: Hub, port: int) -> None:
    """Slow: the same conversations once more."""
    archive = BytesIO()
    writer = ExchangeWriter(archive)
    with clients(replace(LIMITS, records_exchanges=True)) as by_verdict:
        for case in CASES:
            trace = RecordedTrace(read_url(f"http://127.0.0.1:{port}/{case.name}"))
            assert outcome(by_verdict[case.good], trace) == case.good, case.name
            writer.write([{"warc": trace.exchanges}])
    archive.seek(0)
    kinds = []
    for record in ArchiveIterator(archive, check_digests="raise"):
        record.raw_stream.read()
        kinds.append(record.rec_type)
    assert kinds == ["response", "request"] * (len(kinds) // 2)
    assert len(kinds) > len(CASES)


def test_misbehaviours_side_by_side_do_not_disturb_each_other(hub: Hub, port: int) -> None:
    quick = [case for case in CASES if case.good not in SHORT][::3]
    with Client(LIMITS) as client:
        greens = {case.name: spawn(outcome_of, client, port, case) for case in quick}
        found = {name: green.wait() for name, green in greens.items()}
        assert found == {case.name: case.good for case in quick}
        assert client.lanes.statistics().busy == 0


@pytest.mark.parametrize(
    "name",
    [
        "endless-body",
        "endless-headers",
        "gzip-bomb",
        "endless-extension",
        "br-bomb",
        "gzip-with-an-endless-name",
        "skipped-zstd-without-end",
    ],
)
def test_what_never_ends_is_never_held_in_memory(hub: Hub, port: int, name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    with Client(ClientOptions(max_body_bytes=1 << 23)) as client:
        tracemalloc.start()
        try:
            assert outcome_of(client, port, case) is case.good
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak_bytes < 2_000_000
