"""The short way of a fetch, and that it leads to the same records as the long one."""

from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from errno import ECONNREFUSED
from threading import Event

import pytest
from fakes import FakeWeb, ok, web_server
from hostile import CASES, Case, hostile_server

from greenprobe.engine.fetchplan import FetchRecord
from greenprobe.engine.visits import Visits
from greenprobe.errors import ConnectError, TotalTimeout
from greenprobe.greenthread import spawn
from greenprobe.http.auth import Basic
from greenprobe.http.client import Client
from greenprobe.http.connections import Address, Connection, connect_tcp
from greenprobe.http.cookies import CookieJar
from greenprobe.http.lanes import Lane, LanesStatistics
from greenprobe.http.options import ClientOptions, Hooks
from greenprobe.http.plain_gets import PlainGets, Unfinished
from greenprobe.http.retries import RetryPolicy
from greenprobe.http.trace import Trace
from greenprobe.http.urls import read_url
from greenprobe.hub import Hub
from greenprobe.poller import READY
from greenprobe.testing import JumpClock, wait_all_blocked

OPTIONS = ClientOptions(read_timeout=5.0, total_timeout=20.0, max_body_bytes=1 << 21)
# Those that end by themselves.
QUICK = [case for case in CASES if not any(word in case.name for word in ("slow", "drip", "silence"))]
ANSWERS = {
    "/plain": ok(b"hello", "A: 1", "A: 2"),
    "/missing": ok(b"nothing", status="404 Not Found"),
    "/last": ok(b"bye", "Connection: close"),
    "/moved": ok(b"", "Location: /plain", status="302 Found"),
    "/nowhere": ok(b"over there", status="302 Found"),
    "/part": ok(b"he", "Content-Range: bytes 0-1/5", status="206 Partial Content"),
    "/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    "/nothing": b"HTTP/1.1 204 No Content\r\n\r\n",
    "/early": b"HTTP/1.1 103 Early Hints\r\n\r\n" + ok(b"hello"),
    "/big": ok(bytes(3 << 16)),
    "/too-big": ok(bytes(1 << 10)),
    "/packed": ok(b"not gzip", "Content-Encoding: gzip"),
}


@pytest.fixture(scope="module")
def hostile() -> Iterator[int]:
    with hostile_server() as port:
        yield port


@pytest.fixture
def port() -> Iterator[int]:
    with web_server(ANSWERS.__getitem__) as port:
        yield port


@pytest.fixture
def client(hub: Hub) -> Iterator[Client]:
    with closing(Client(OPTIONS, hub=hub)) as client:
        yield client


def record_of(visits: Visits, port: int, path: str) -> FetchRecord:
    """Fetch a path and return its record."""
    line = f"http://127.0.0.1:{port}{path}".encode()
    record = visits.fetch(7, line, read_url(line.decode()))
    assert record is not None
    return record


Results = list[tuple[FetchRecord, LanesStatistics]]


def by_both_ways(hub: Hub, port: int, first: str, path: str, options: ClientOptions) -> Results:
    """Ask for a path on what connection `first` has left, the short way and the long: the records, and the pool."""
    found = []
    for is_short in (True, False):
        with closing(Client(options, hub=hub)) as client:
            client.plain_gets = client.plain_gets if is_short else None
            visits = Visits(hub, client, {})
            record_of(visits, port, first)
            found.append((without_times(record_of(visits, port, path)), client.lanes.statistics()))
            assert found[-1][1].busy == 0
    return found


def without_times(record: FetchRecord) -> FetchRecord:
    """Return a record with only what two fetches have in common."""
    known = record.elapsed._replace(first_byte=record.elapsed.first_byte and 1.0, total=1.0)
    return record._replace(elapsed=known._replace(connect=known.connect and 1.0), ended=1.0)


@pytest.mark.parametrize("path", ANSWERS)
@pytest.mark.parametrize("first", ("/plain", "/last"), ids=("kept", "new"))
def test_both_ways_lead_to_the_same_record(hub: Hub, port: int, first: str, path: str) -> None:
    limited = ClientOptions(max_body_bytes=1000) if path == "/too-big" else OPTIONS
    short, long = by_both_ways(hub, port, first, path, limited)
    assert short == long


def test_a_plain_answer_on_a_kept_connection_goes_the_short_way_alone(
    hub: Hub, client: Client, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits = Visits(hub, client, {7: {"input": "more"}})
    first = record_of(visits, port, "/plain")
    assert first.elapsed.connect is not None
    monkeypatch.setattr(client, "fetch", None)
    monkeypatch.setattr(client, "finish", None)
    second = record_of(visits, port, "/plain")
    assert second.elapsed.connect is None
    assert second[:6] == (*first[:5], first.headers)
    assert (first.extras, second.extras) == ({"input": "more"}, None)
    assert 0 < (second.elapsed.first_byte or 0) == second.elapsed.total


def test_a_plain_answer_on_a_new_connection_goes_the_short_way_alone(
    hub: Hub, client: Client, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits = Visits(hub, client, {})
    first = record_of(visits, port, "/last")
    monkeypatch.setattr(client, "fetch", None)
    monkeypatch.setattr(client, "finish", None)
    second = record_of(visits, port, "/last")
    assert without_times(second) == without_times(first)._replace(elapsed=without_times(second).elapsed)
    assert second.elapsed.dns is None
    assert 0 < (second.elapsed.connect or 0) < second.elapsed.total
    assert 0 < (second.elapsed.first_byte or 0) < second.elapsed.total


def test_a_connection_that_is_refused_is_tried_once_and_leaves_no_place(hub: Hub) -> None:
    tries: list[Address] = []

    def connect(hub: Hub, address: Address, deadline: float) -> Connection:
        tries.append(address)
        if len(tries) > 1:
            raise ConnectionRefusedError(ECONNREFUSED, "no")
        return connect_tcp(hub, address, deadline)

    with web_server(ANSWERS.__getitem__) as port, closing(Client(OPTIONS, hub=hub, connect=connect)) as client:
        visits = Visits(hub, client, {})
        record_of(visits, port, "/last")
        refused = record_of(visits, port, "/plain")
        assert refused.error == ("ConnectError", f"no connection to http://127.0.0.1:{port}: Connection refused")
        assert (refused.status, refused.address, refused.sent_bytes, len(tries)) == (None, None, 0, 2)
        assert client.lanes.statistics()[1:] == (0, 0, 0)


def kill_in_the_middle(hub: Hub, client: Client, port: int, path: str) -> None:
    """Kill who asks for a path once everybody waits: he has a place, and leaves it."""
    green = spawn(record_of, Visits(hub, client, {}), port, path)
    wait_all_blocked()
    assert client.lanes.statistics()[1:] == (1, 0, 0)
    green.kill()
    wait_all_blocked()
    assert client.lanes.statistics()[1:] == (0, 0, 0)


def test_who_is_killed_while_he_connects_leaves_his_place(hub: Hub) -> None:
    def connect(hub: Hub, address: Address, deadline: float) -> Connection:
        if tries:
            hub.sleep(20)
        tries.append(address)
        return connect_tcp(hub, address, deadline)

    tries: list[Address] = []
    with web_server(ANSWERS.__getitem__) as port, closing(Client(OPTIONS, hub=hub, connect=connect)) as client:
        record_of(Visits(hub, client, {}), port, "/last")
        kill_in_the_middle(hub, client, port, "/plain")


def test_connecting_counts_against_the_deadline(hub: Hub, clock: JumpClock) -> None:
    def connect(hub: Hub, address: Address, deadline: float) -> Connection:
        hub.sleep(3)
        return web.connect(hub, address, deadline)

    web = FakeWeb([ok(b"bye", "Connection: close")], [])
    options = ClientOptions(read_timeout=4.0, total_timeout=5.0)
    with closing(Client(options, hub=hub, connect=connect)) as client:
        visits = Visits(hub, client, {})
        record_of(visits, 80, "/")
        record = record_of(visits, 80, "/")
        assert record.error == ("TotalTimeout", "not done after 5 s")
        assert record.elapsed == (None, 3.0, None, None, 5.0)


def test_a_connection_that_the_server_has_closed_costs_one_more_on_a_new_one(hub: Hub) -> None:
    answers = deque([ANSWERS["/plain"], b"", ANSWERS["/missing"]])
    with web_server(lambda _: answers.popleft()) as port, closing(Client(OPTIONS, hub=hub)) as client:
        visits = Visits(hub, client, {})
        first = record_of(visits, port, "/plain")
        second = record_of(visits, port, "/plain")
        assert (second.status, second.error) == (404, None)
        assert second.sent_bytes == 2 * first.sent_bytes
        assert second.elapsed.connect is not None
        assert client.lanes.statistics()[1:] == (0, 1, 0)


@contextmanager
def mute_server() -> Iterator[tuple[int, Event]]:
    """Serve, but answer nothing to /silence until the event is set."""
    speaks = Event()

    def respond(path: str) -> bytes:
        if path == "/silence":
            speaks.wait(20)
        return ANSWERS["/plain"]

    with web_server(respond) as port:
        try:
            yield port, speaks
        finally:
            speaks.set()


def no_more(lane: Lane, trace: Trace) -> Connection:
    raise ConnectError("no more")


def unanswered(hub: Hub, client: Client, port: int) -> Unfinished:
    """Ask for /silence on a connection that was used before, and wait a moment."""
    record_of(Visits(hub, client, {}), port, "/plain")
    impatient = PlainGets(hub, client.lanes, ClientOptions(first_byte_timeout=0.01), no_more)
    found = impatient.get(read_url(f"http://127.0.0.1:{port}/silence"))
    assert isinstance(found, Unfinished)
    assert (found.data, found.error) == (None, None)
    return found


def test_an_answer_that_comes_late_is_waited_for_on_the_long_way(hub: Hub, client: Client) -> None:
    with mute_server() as (port, speaks):
        unfinished = unanswered(hub, client, port)
        speaks.set()
        client.finish(unfinished)
        assert (unfinished.trace.status, unfinished.trace.size_bytes) == (200, 5)
        assert client.lanes.statistics()[1:] == (0, 1, 0)


def test_silence_ends_at_the_deadline(hub: Hub, client: Client) -> None:
    with mute_server() as (port, _):
        unfinished = unanswered(hub, client, port)
        unfinished.trace.deadline = hub.clock()
        with pytest.raises(TotalTimeout):
            client.finish(unfinished)
        assert client.lanes.statistics()[1:] == (0, 0, 0)


def test_who_is_killed_while_he_waits_leaves_place_and_connection(hub: Hub, client: Client) -> None:
    with mute_server() as (port, _):
        record_of(Visits(hub, client, {}), port, "/plain")
        kill_in_the_middle(hub, client, port, "/silence")


@pytest.mark.parametrize(("what", "value"), [("waiter", READY), ("hangup", 1)])
def test_a_connection_that_was_heard_of_meanwhile_is_looked_at_before(
    hub: Hub, client: Client, port: int, what: str, value: object
) -> None:
    record_of(Visits(hub, client, {}), port, "/plain")
    [lane] = client.lanes.by_key.values()
    side = lane.idle[0].side
    setattr(side if what == "waiter" else side.slot, what, value)
    assert client.plain_gets is not None
    assert client.plain_gets.get(read_url(f"http://127.0.0.1:{port}/plain")) is None
    assert client.lanes.statistics()[1:] == (0, 1, 0)


@pytest.mark.parametrize(
    "options",
    [
        ClientOptions(cookies=CookieJar()),
        ClientOptions(hooks=Hooks()),
        ClientOptions(retries=RetryPolicy(1)),
        ClientOptions(auth=Basic("u", "p")),
        ClientOptions(http2=True),
        ClientOptions(records_exchanges=True),
    ],
)
def test_who_asks_for_more_never_goes_the_short_way(hub: Hub, options: ClientOptions) -> None:
    with closing(Client(options, hub=hub)) as client:
        assert client.plain_gets is None


def test_a_tls_connection_is_opened_on_the_long_way(client: Client) -> None:
    url = read_url("https://127.0.0.1/")
    client.lanes.add(Lane(url.origin, b""))
    assert client.plain_gets is not None
    assert client.plain_gets.get(url) is None
    assert client.lanes.statistics()[1:] == (0, 0, 0)


def test_a_url_with_credentials_goes_the_long_way(hub: Hub, client: Client, port: int) -> None:
    record_of(Visits(hub, client, {}), port, "/plain")
    assert client.plain_gets is not None
    assert client.plain_gets.get(read_url(f"http://u:p@127.0.0.1:{port}/plain")) is None


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.name)
@pytest.mark.parametrize("is_kept", (True, False), ids=("kept", "new"))
def test_a_misbehaviour_gets_its_verdict_on_the_short_way(
    hub: Hub, client: Client, hostile: int, case: Case, is_kept: bool
) -> None:
    visits = Visits(hub, client, {})
    assert record_of(visits, hostile, "/warm").status == 200
    if not is_kept:
        client.lanes.close_all()
    record = record_of(visits, hostile, f"/{case.name}")
    assert verdict(record) == (case.good.__name__ if isinstance(case.good, type) else case.good)
    assert client.lanes.statistics().busy == 0


def verdict(record: FetchRecord) -> object:
    """Return what came of a fetch, in the table's terms."""
    return record.error.kind if record.error is not None else (record.status, record.size_bytes)
