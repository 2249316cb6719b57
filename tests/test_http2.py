"""HTTP/2: shared connections, flow control, and servers that go away, reset and lie."""

import json
import ssl
from collections.abc import Iterator
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from socket import AF_INET
from typing import Any

import pytest
import trustme
from fakes import ok, resolve_anything, web_server
from http2_server import Http2Server, http2_server
from hypothesis import given, settings, strategies as st

from greenprobe.cli import cli, run
from greenprobe.engine.bodyroom import Body, BodyRoom
from greenprobe.errors import (
    ConnectionLost,
    ConnectTimeout,
    FetchError,
    HeaderTooLarge,
    ProtocolError,
    ReadTimeout,
    TotalTimeout,
    WriteTimeout,
)
from greenprobe.greenthread import spawn
from greenprobe.http.client import Client
from greenprobe.http.connections import Address, Connection, TlsConnection, connect_tcp
from greenprobe.http.handshakes import Handshakes
from greenprobe.http.http2 import HELD_BYTES, Http2Session, shares
from greenprobe.http.http2_frames import FrameCutter
from greenprobe.http.lanes import Lane
from greenprobe.http.options import ClientOptions
from greenprobe.http.response import Response
from greenprobe.http.trace import Trace
from greenprobe.http.trust import trusting
from greenprobe.http.urls import read_url
from greenprobe.hub import Hub
from greenprobe.testing import JumpClock


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Bench:
    """A server, and clients of it."""

    def __init__(self, server: Http2Server, port: int, ca_file: str) -> None:
        self.server = server
        self.url = f"https://localhost:{port}"
        self.ca_file = ca_file
        self.clients: list[Client] = []

    def client(self, **options: Any) -> Client:
        client = Client(ClientOptions(http2=True, **options), trust=lambda: trusting(self.ca_file))
        self.clients.append(client)
        return client


def context_of(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def bench(hub: Hub, authority: trustme.CA, tmp_path: Any) -> Iterator[Bench]:
    ca_file = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(ca_file)
    server = Http2Server()
    with http2_server(context_of(authority), server) as port:
        bench = Bench(server, port, ca_file)
        yield bench
        for client in bench.clients:
            client.close()


def all_of(client: Client, urls: list[str]) -> list[Response]:
    return [green.wait() for green in [spawn(client.get, url) for url in urls]]


def test_exchanges_share_one_connection(bench: Bench) -> None:
    found = all_of(bench.client(), [f"{bench.url}/{n}" for n in range(50)])
    assert {(response.status, response.content, response.trace.protocol) for response in found} == {(200, b"ok", "h2")}
    assert [response.header("x-path") for response in found] == [f"/{n}" for n in range(50)]
    assert bench.server.connections == 1


def test_a_request_has_its_pseudo_fields_and_no_connection_headers(bench: Bench) -> None:
    bench.client(user_agent="x").get(f"{bench.url}/a?b", headers={"X-Y": "z"})
    (request,) = bench.server.requests
    assert list(request)[:4] == [":method", ":scheme", ":authority", ":path"]
    assert (request[":path"], request["x-y"], request["user-agent"]) == ("/a?b", "z", "x")
    assert "host" not in request


def test_headers_of_one_connection_are_left_out_and_values_have_no_space_around_them(bench: Bench) -> None:
    client = bench.client()
    client.get(f"{bench.url}/", headers={"Keep-Alive": "5", "Proxy-Connection": "close", "Expect": "x", "X-Y": " z\t"})
    (request,) = bench.server.requests
    assert request["x-y"] == "z"
    assert not request.keys() & {"keep-alive", "proxy-connection", "expect"}


def test_secrets_are_not_indexed_and_a_long_cookie_is(bench: Bench) -> None:
    headers = {"Authorization": "Basic YTpi", "Cookie": "a=b", "X-Y": "z"}
    client = bench.client(headers=tuple(headers.items()))
    client.get(f"{bench.url}/")
    client.get(f"{bench.url}/", headers={"Cookie": "a=" + "b" * 40})
    assert bench.server.never_indexed == {"authorization", "cookie"}


def test_large_bodies_flow_both_ways(bench: Bench) -> None:
    client = bench.client()
    response = client.post(f"{bench.url}/big", b"y" * 400_000)
    assert len(response.content) == 3_000_000
    assert bench.server.bodies == [b"y" * 400_000]


def test_an_answer_that_begins_early_gets_the_whole_body(bench: Bench) -> None:
    """It may be made of the body, piece by piece: who stopped there would wait for the end for ever."""
    assert bench.client().post(f"{bench.url}/early", b"y" * 400_000).content == b"all of it"
    assert bench.server.bodies == [b"y" * 400_000]


def test_a_refusal_that_comes_early_ends_the_body(bench: Bench) -> None:
    client = bench.client()
    assert client.post(f"{bench.url}/early-no", b"y" * 4_000_000).status == 413
    assert client.get(bench.url).content == b"ok"


def test_a_record_that_was_cut_ends_the_connection_for_all(bench: Bench, hub: Hub) -> None:
    """Half of it is out: whatever anybody sent behind it would be read as the rest."""
    client = bench.client()
    other = spawn(client.get, f"{bench.url}/silent")
    sender = spawn(client.post, f"{bench.url}/stall", b"y" * 40_000_000)
    connection: Any = None
    while connection is None or not connection._is_flushing:  # it is full
        hub.sleep(0.001)
        sessions = client.lanes.by_key[bench.url].sessions
        connection = sessions[0].connection if sessions else None
    sender.kill()
    with pytest.raises(ConnectionLost):
        other.wait(timeout=10)
    bench.server.reads_on.set()
    assert client.get(bench.url).content == b"ok"


def test_a_server_that_reads_nothing_is_a_write_timeout(bench: Bench) -> None:
    with pytest.raises(WriteTimeout):
        bench.client(read_timeout=0.1).post(f"{bench.url}/stall", b"y" * 40_000_000)
    bench.server.reads_on.set()


def test_a_body_that_gets_no_window_in_the_whole_time_is_a_total_timeout(bench: Bench) -> None:
    with pytest.raises(TotalTimeout):
        bench.client(total_timeout=0.1).post(f"{bench.url}/no-room", b"y" * 400_000)


def stuck(connection: TlsConnection, data: bytes, deadline: float) -> None:
    raise TimeoutError


def test_a_request_that_is_not_taken_is_a_write_timeout(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    client = bench.client()
    client.get(bench.url)
    monkeypatch.setattr(TlsConnection, "send", stuck)
    with pytest.raises(WriteTimeout):
        client.get(bench.url)


def test_a_stream_is_left_where_the_server_does_not_take_even_that(
    bench: Bench, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = bench.client(read_timeout=0.1)
    client.get(bench.url)  # with that, both have acknowledged the other's settings
    asked = spawn(client.get, f"{bench.url}/silent")
    while len(bench.server.requests) < 2:
        hub.sleep(0.001)
    monkeypatch.setattr(TlsConnection, "send", stuck)
    with pytest.raises(ReadTimeout):
        asked.wait(timeout=10)


def test_who_waits_for_a_connection_gets_the_one_that_rests(bench: Bench, authority: trustme.CA) -> None:
    """And not when it has rested for long enough, nor one more than there may be."""
    client = bench.client(max_open=1, total_timeout=5.0)
    with http2_server(context_of(authority), Http2Server()) as port:
        found = all_of(client, [f"{bench.url}/big", f"https://localhost:{port}/"])
    assert [len(response.content) for response in found] == [3_000_000, 2]


def test_a_proxy_is_not_offered_what_is_meant_for_the_origin(bench: Bench, hub: Hub) -> None:
    shakes = Handshakes(hub.clock, lambda: trusting(bench.ca_file), offers_http2=True)
    for lane, protocol in ((None, None), (Lane(read_url(bench.url).origin, b""), "h2")):
        plain = connect_tcp(hub, Address(AF_INET, ("127.0.0.1", read_url(bench.url).origin.port)), hub.clock() + 5)
        with closing(shakes.shake("localhost", plain, hub.clock() + 5, lane)) as secure:
            assert secure.protocol == protocol


def test_a_dead_server_is_not_knocked_at_by_one_after_the_other(clock: JumpClock) -> None:
    tried = []

    def connect(hub: Hub, address: Address, deadline: float) -> Connection:
        tried.append(address)
        hub.sleep_until(deadline)
        raise TimeoutError

    options = ClientOptions(http2=True, connect_timeout=10.0)
    with closing(Client(options=options, resolve=resolve_anything, connect=connect)) as client:
        for green in [spawn(client.get, "https://dead/") for _ in range(5)]:
            with pytest.raises(ConnectTimeout):
                green.wait()
    assert len(tried) == 1
    assert clock.now() == pytest.approx(10.0)


def test_a_slow_reader_does_not_hold_the_others_up(bench: Bench) -> None:
    client = bench.client()
    with client.stream("GET", f"{bench.url}/big") as slow:
        assert client.get(f"{bench.url}/quick").content == b"ok"
        assert sum(map(len, slow)) == 3_000_000
    assert bench.server.connections == 1


def test_a_stream_that_is_left_leaves_the_connection_to_the_others(bench: Bench) -> None:
    client = bench.client()
    for _ in range(3):
        with client.stream("GET", f"{bench.url}/big"):
            pass
    assert client.get(bench.url).content == b"ok"
    assert bench.server.connections == 1


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than is allowed else, so that few bytes fill it."""
    monkeypatch.setattr("greenprobe.http.http2.LARGEST_STREAM_WINDOW_BYTES", 1 << 16)
    monkeypatch.setattr("greenprobe.http.http2.HELD_BYTES", 1 << 20)


def test_streams_that_are_left_give_back_what_they_took_of_the_connections_window(bench: Bench) -> None:
    client = bench.client()
    for _ in range(5):
        with client.stream("GET", f"{bench.url}/large") as response:
            next(iter(response))
    assert client.get(bench.url).content == b"ok"
    (session,) = client.lanes.by_key[bench.url].sessions
    assert isinstance(session, Http2Session)
    window = session._h2._inbound_flow_control_window_manager
    assert window.current_window_size + window._bytes_processed == window.max_window_size  # nobody holds anything


@pytest.mark.usefixtures("small_windows")
def test_any_number_of_bodies_that_wait_for_room_leave_the_connection_to_the_one_that_has_it(bench: Bench) -> None:
    room = BodyRoom(0, 300_000, 20)  # of one body: who comes next waits before its first byte
    client = bench.client(max_streams=20)

    def fetched() -> int:
        body = Body(room)
        trace = Trace(read_url(f"{bench.url}/large"))
        client.fetch(trace, open_sink=lambda _: body.sink(None))
        size = len(body.content)
        body.close()
        return size

    assert [green.wait() for green in [spawn(fetched) for _ in range(20)]] == [300_000] * 20
    assert bench.server.connections == 1


@pytest.mark.parametrize(("streams", "window"), ((1, 1 << 20), (100, 671_088), (4096, 1 << 14), (1_000_000, 1 << 14)))
def test_all_windows_of_streams_together_are_within_half_of_the_connections(streams: int, window: int) -> None:
    allowed, each = shares(streams)
    assert each == window
    assert 0 < allowed <= streams
    assert allowed * each <= HELD_BYTES


def test_redirects_stay_on_the_connection(bench: Bench) -> None:
    assert bench.client().get(f"{bench.url}/moved").url == f"{bench.url}/"
    assert bench.server.connections == 1


def test_the_servers_limit_and_ours_open_more_connections(bench: Bench) -> None:
    found = all_of(bench.client(max_streams=5), [f"{bench.url}/{n}" for n in range(20)])
    assert all(response.status == 200 for response in found)
    assert bench.server.most_at_once <= 5


def test_what_a_server_did_not_begin_is_asked_again(bench: Bench) -> None:
    client = bench.client()
    assert client.get(f"{bench.url}/refused").content == b"ok"
    assert client.post(f"{bench.url}/unbegun", b"body").content == b"ok"


def test_what_was_begun_before_a_server_goes_away_comes_to_its_end(bench: Bench) -> None:
    client = bench.client()
    found = all_of(client, [f"{bench.url}/go-away", f"{bench.url}/1", f"{bench.url}/2"])
    assert [response.content for response in found] == [b"ok"] * 3
    assert client.get(bench.url).content == b"ok"


def test_a_frame_of_no_stream_is_named(bench: Bench) -> None:
    with pytest.raises(ProtocolError, match="speaks on stream 11, which is not open"):
        bench.client().get(f"{bench.url}/elsewhere")


def breaks_and_goes_on(bench: Bench, client: Client, path: str, error: type[Exception]) -> None:
    """Meet an error, and find the client as good as before."""
    with pytest.raises(error):
        client.get(bench.url + path)
    assert client.get(bench.url).content == b"ok"
    assert client.lanes.statistics().busy == 0


@pytest.mark.parametrize(
    ("path", "error"),
    (
        ("/reset", ConnectionLost),
        ("/hang-up", ConnectionLost),
        ("/garbage", FetchError),
        ("/short", ProtocolError),
        ("/elsewhere", ProtocolError),
        ("/flood", ProtocolError),
        ("/huge-head", HeaderTooLarge),
    ),
)
def test_what_breaks_is_named_and_the_client_goes_on(bench: Bench, path: str, error: type[Exception]) -> None:
    breaks_and_goes_on(bench, bench.client(), path, error)


@pytest.mark.slow
def test_silence_is_a_read_timeout_and_the_client_goes_on(bench: Bench) -> None:
    """Slow: a timeout that an answer keeps to on a machine that stalls."""
    breaks_and_goes_on(bench, bench.client(read_timeout=2.0), "/silent", ReadTimeout)


def test_a_server_without_http2_is_served_without_it(bench: Bench, authority: trustme.CA) -> None:
    context = context_of(authority)
    context.set_alpn_protocols(["http/1.1"])
    with web_server(lambda _: ok(b"old"), context=context) as port:
        client = bench.client()
        found = all_of(client, [f"https://localhost:{port}/{n}" for n in range(5)])
        assert {(response.content, response.trace.protocol) for response in found} == {(b"old", "http/1.1")}
        assert client.lanes.statistics().busy == 0
        client.close()


@pytest.mark.slow
def test_processes_share_connections_and_show_who_we_are(authority: trustme.CA, tmp_path: Path) -> None:
    """Slow: starts processes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("me@example.test").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "me.pem"))
    server = Http2Server()
    with http2_server(context, server) as port:
        hosts = ("localhost", "127.0.0.1")
        urls = "".join(f"https://{hosts[n % 2]}:{port}/{n}\n" for n in range(40))
        (tmp_path / "urls").write_text(urls)
        words = [
            "--processes",
            "2",
            "--http2",
            "--ca-file",
            str(tmp_path / "ca.pem"),
            "--cert",
            str(tmp_path / "me.pem"),
        ]
        assert run(cli, ["fetch", str(tmp_path / "urls"), "-o", str(tmp_path / "out"), "--tls-facts", *words]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert sorted(row["url"] for row in rows) == sorted(urls.split())
    assert {(row["status"], row["tls"]["alpn"]) for row in rows} == {(200, "h2")}
    assert server.connections == 2


def test_a_server_that_takes_one_request_and_goes_away_is_asked_as_long_as_it_takes_one(bench: Bench) -> None:
    found = all_of(bench.client(), [f"{bench.url}/go-away"] * 6)
    assert [response.content for response in found] == [b"ok"] * 6


# -- frames


def frame(kind: int, length_bytes: int) -> bytes:
    return length_bytes.to_bytes(3) + bytes([kind]) + bytes(5) + bytes(length_bytes)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from((0, 4, 7)), st.integers(0, 40))), st.lists(st.integers(1, 30)))
def test_frames_are_cut_behind_each_goaway_wherever_the_pieces_end(
    frames: list[tuple[int, int]], sizes: list[int]
) -> None:
    data = b"".join([frame(*each) for each in frames])
    cutter, cuts, place = FrameCutter(), [], 0
    for size in [*sizes, len(data)]:
        for piece in cutter.cut(data[place : place + size]):
            place += len(piece)
            cuts.append(place)
    assert place == len(data)
    ends = list(accumulate(9 + length for _, length in frames))
    assert {end for end, (kind, _) in zip(ends, frames, strict=True) if kind == 7} <= set(cuts)


@pytest.mark.parametrize("data", (b"\x00\x40\x01" + bytes(6), b"HTTP/1.1 400"))
def test_what_can_be_no_frame_is_refused_with_its_head(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        FrameCutter().cut(data)
