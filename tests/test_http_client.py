"""The client: pooling, deadlines, redirects, decoding, and the names of everything that can go wrong."""

import gzip
import ssl
from collections.abc import Callable, Iterator
from errno import EMFILE
from functools import partial
from socket import AF_INET, EAI_NONAME, gaierror
from typing import Any

import pytest
import trustme
from core_tools import one_by_one
from fakes import FakeWeb, Refused, Script, ok, resolve_anything, web_server
from tls_contexts import trusting_only

from greenprobe.errors import (
    BodyTooLarge,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    DecodeError,
    DnsError,
    EmptyReply,
    IncompleteBody,
    PoolTimeout,
    ProtocolError,
    ReadTimeout,
    RedirectError,
    TlsError,
    TotalTimeout,
)
from greenprobe.greenthread import GreenThread, spawn
from greenprobe.http.client import Client, ClientOptions
from greenprobe.http.connections import Address
from greenprobe.http.trace import Hop, Trace
from greenprobe.http.urls import read_url
from greenprobe.hub import Hub
from greenprobe.testing import JumpClock, wait_all_blocked

RESET = ConnectionResetError(104, "Connection reset by peer")


opened: list[Client] = []


@pytest.fixture(autouse=True)
def _close_clients(hub: Hub) -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


def client_of(web: FakeWeb, **options: Any) -> Client:
    client = Client(ClientOptions(**options), resolve=resolve_anything, connect=web.connect)
    opened.append(client)
    return client


def real_client() -> Client:
    client = Client(ClientOptions(), trust=trusting_ours)
    opened.append(client)
    return client


def fetch(client: Client, url: str = "http://h/", sink: Callable[[bytes], object] | None = None) -> Trace:
    trace = Trace(read_url(url))
    client.fetch(trace, sink)
    return trace


def fails_with(
    error: type[Exception], script: Script | Exception | float, match: str | None = None, **options: Any
) -> Trace:
    trace = Trace(read_url("http://h/"))
    with pytest.raises(error, match=match):
        client_of(FakeWeb(script), **options).fetch(trace)
    return trace


# -- one answer


def test_an_answer_is_traced(clock: JumpClock) -> None:
    trace = fetch(client_of(FakeWeb(2.0, [1.0, ok(b"hello", "Server: x")])))
    assert (trace.status, trace.size_bytes, trace.headers["server"]) == (200, 5, ("x",))
    assert (trace.dns, trace.connect, trace.tls, trace.first_byte) == (0.0, 2.0, None, 1.0)
    assert trace.ended - trace.started == 3.0


@pytest.mark.parametrize(
    ("pieces", "size_bytes"),
    (
        ([ok(b"hello")[:-2], b"lo"], 5),
        ([b"HTTP/1.1 200 OK\r\n", b"Content-Length: 5\r\n\r\n", b"hello"], 5),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", b"llo\r\n0\r\n\r\n"], 5),
        ([b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo", b""], 5),
        ([b"HTTP/1.1 204 No\r\n\r\n"], 0),
        ([ok(gzip.compress(b"hello"), "Content-Encoding: gzip")], 5),
    ),
)
def test_the_body_reaches_the_sink_however_it_comes(clock: JumpClock, pieces: Script, size_bytes: int) -> None:
    body = bytearray()
    trace = fetch(client_of(FakeWeb(pieces)), sink=body.extend)
    assert (trace.size_bytes, bytes(body)) == (size_bytes, b"hello"[:size_bytes])


def test_the_request_names_host_and_codings_and_nothing_secret() -> None:
    web = FakeWeb([ok()])
    fetch(client_of(web, user_agent="x/1"), "http://h:81/a?b#c")
    request = web.connections[0].requests[0].decode()
    assert request == (
        "GET /a?b HTTP/1.1\r\nHost: h:81\r\nUser-Agent: x/1\r\nAccept: */*\r\n"
        "Accept-Encoding: gzip, deflate, br, zstd\r\n\r\n"
    )


def test_credentials_of_a_url_are_sent_as_basic() -> None:
    web = FakeWeb([ok()])
    fetch(client_of(web), "http://user:pw@h/")
    assert web.connections[0].requests[0].endswith(b"\r\nAuthorization: Basic dXNlcjpwdw==\r\n\r\n")


def test_headers_that_a_script_changes_are_its_own() -> None:
    client = client_of(FakeWeb([ok(b"a", "A: 1")] * 3))
    for _ in range(3):
        headers = fetch(client).headers
        assert headers["a"] == ("1",)
        headers["a"] = ("2",)


# -- connections are used again


def test_a_connection_is_used_again(clock: JumpClock) -> None:
    web = FakeWeb([ok(), ok()])
    client = client_of(web)
    fetch(client, "http://h/1")
    trace = fetch(client, "http://h/2")
    assert web.requests() == ["0 GET /1 HTTP/1.1", "0 GET /2 HTTP/1.1"]
    assert (trace.dns, trace.connect, trace.tls) == (None, None, None)


@pytest.mark.parametrize(
    "answer",
    (
        ok(b"ok", "Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ok() + b"rubbish",
        b"HTTP/1.1 204 No\r\nContent-Length: 6\r\n\r\npoison",
    ),
)
def test_a_connection_that_cannot_be_used_again_is_closed(answer: bytes) -> None:
    web = FakeWeb([answer], [ok()])
    client = client_of(web)
    fetch(client)
    assert web.connections[0].closed
    fetch(client)
    assert not web.connections[1].closed


@pytest.mark.parametrize("end", (b"", RESET))
def test_a_stale_connection_costs_a_second_try_and_no_error(end: bytes | Exception) -> None:
    web = FakeWeb([ok(), end], [ok(b"again")])
    client = client_of(web)
    fetch(client)
    assert fetch(client).size_bytes == 5
    assert web.requests() == ["0 GET / HTTP/1.1", "0 GET / HTTP/1.1", "1 GET / HTTP/1.1"]
    assert client.lanes.statistics().busy == 0


def test_a_second_failure_is_an_error() -> None:
    web = FakeWeb([ok(), b""], [b""])
    client = client_of(web)
    fetch(client)
    with pytest.raises(EmptyReply):
        fetch(client)


def test_an_answer_that_has_begun_is_not_asked_for_again() -> None:
    web = FakeWeb([ok(), b"HTTP/1.1 200 OK\r\n", RESET], [ok()])
    client = client_of(web)
    fetch(client)
    with pytest.raises(IncompleteBody):
        fetch(client)
    assert len(web.connections) == 1


def test_a_connection_the_peer_has_hung_up_is_not_tried() -> None:
    web = FakeWeb([ok(), ok()], [ok()])
    client = client_of(web)
    fetch(client)
    web.connections[0].hung_up = True
    fetch(client)
    assert web.connections[0].closed
    assert len(web.connections[0].requests) == 1


def test_idle_connections_are_closed_after_a_while(clock: JumpClock, hub: Hub) -> None:
    web = FakeWeb([ok()])
    client = client_of(web)
    fetch(client)
    hub.sleep(ClientOptions().idle_timeout - 1)
    assert not web.connections[0].closed
    hub.sleep(10)
    assert web.connections[0].closed


# -- the pool


def start(client: Client, *paths: str) -> list[GreenThread]:
    return one_by_one(partial(fetch, client), [f"http://h/{path}" for path in paths])


def test_who_finds_no_place_waits_in_line(clock: JumpClock) -> None:
    web = FakeWeb([1.0, ok(), 1.0, ok(), 1.0, ok()])
    client = client_of(web, per_host=1)
    threads = start(client, "a", "b", "c")
    wait_all_blocked()
    assert (client.lanes.statistics().busy, client.lanes.statistics().waiting) == (1, 2)
    traces = [thread.wait() for thread in threads]
    assert [trace.ended for trace in traces] == [1.0, 2.0, 3.0]
    assert web.requests() == [f"0 GET /{path} HTTP/1.1" for path in "abc"]
    assert client.lanes.statistics()[:3] == (1, 0, 1)


def test_waiting_for_a_place_does_not_count_as_fetching(clock: JumpClock) -> None:
    web = FakeWeb([4.0, ok(), 4.0, ok(), 4.0, ok()])
    threads = start(client_of(web, per_host=1, total_timeout=5.0), "a", "b", "c")
    assert [thread.wait().status for thread in threads] == [200, 200, 200]


def test_a_killed_waiter_leaves_the_line_and_a_killed_fetch_its_place(clock: JumpClock) -> None:
    web = FakeWeb([9.0, ok()], [ok()])
    client = client_of(web, per_host=1)
    first, second, third = start(client, "a", "b", "c")
    wait_all_blocked()
    for killed in (second, first):
        killed.kill()
        killed.join()
    assert third.wait().status == 200
    assert web.connections[0].closed
    assert client.lanes.statistics()[1:] == (0, 1, 0)


def test_the_oldest_idle_connection_makes_room_for_a_new_one() -> None:
    web = FakeWeb([ok()], [ok()], [ok()])
    client = client_of(web, max_open=2)
    for host in ("a", "b", "c"):
        fetch(client, f"http://{host}/")
    assert [connection.closed for connection in web.connections] == [True, False, False]


def test_lanes_without_connections_are_forgotten() -> None:
    web = FakeWeb(*([ok(b"", "Connection: close")] for _ in range(3000)))
    client = client_of(web)
    for number in range(3000):
        fetch(client, f"http://h{number}/")
    assert client.lanes.statistics().lanes <= 1025


def test_descriptors_that_run_out_come_back(clock: JumpClock) -> None:
    full = OSError(EMFILE, "Too many open files")
    web = FakeWeb([ok()], full, [ok()], full, full, [ok()])
    client = client_of(web)
    fetch(client, "http://a/")
    fetch(client, "http://b/")
    assert web.connections[0].closed  # it was idle, and in the way
    web.connections[1].script.append(b"")
    spawned = spawn(fetch, client, "http://b/")
    assert spawned.wait().status == 200


# -- what goes wrong


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("Name or service not known", "example: Name or service not known"),
        ("Name or service not known: example (192.0.2.1: NXDOMAIN)",) * 2,
    ],
)
def test_a_name_without_an_address_is_a_dns_error_that_has_it_once(why: str, said: str) -> None:
    def resolve(host: str, port: int, timeout: float) -> list[Address]:
        raise gaierror(EAI_NONAME, why)

    client = Client(ClientOptions(), resolve=resolve, connect=FakeWeb().connect)
    opened.append(client)
    with pytest.raises(DnsError) as raised:
        client.get("http://example/")
    assert str(raised.value) == said


def test_a_request_has_one_body() -> None:
    with Client() as client, pytest.raises(TypeError, match="give content, or json, or form and files"):
        client.post("http://h/", b"bytes", json={"a": 1})


def test_options_that_are_none_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="are no ClientOptions"):
        Client({"retries": 3})  # type: ignore[arg-type]


def test_a_number_of_retries_is_no_policy() -> None:
    with pytest.raises(TypeError, match=r"write retries=RetryPolicy\(3\)"):
        ClientOptions(retries=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(("answer", "seconds"), (([5.0, ok()], "2"), ([ok(b"abc")[:-1], 9.0, b"c"], "3")))
def test_a_timeout_says_how_long_it_was(clock: JumpClock, answer: Script, seconds: str) -> None:
    client = client_of(FakeWeb(answer), first_byte_timeout=2.0, read_timeout=3.0)
    with pytest.raises(ReadTimeout, match=f"nothing came from http://h for {seconds} s"):
        client.get("http://h/")


def test_addresses_are_remembered_for_a_while(clock: JumpClock, hub: Hub) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int, timeout: float) -> list[Address]:
        asked.append(host)
        return resolve_anything(host, port, timeout)

    web = FakeWeb(*([ok(b"", "Connection: close")] for _ in range(3)))
    client = Client(ClientOptions(), hub=hub, resolve=resolve, connect=web.connect)
    opened.append(client)
    fetch(client)
    fetch(client)
    assert asked == ["h"]
    hub.sleep(40)
    fetch(client)
    assert asked == ["h", "h"]


def two_addresses(host: str, port: int, timeout: float) -> list[Address]:
    return [Address(AF_INET, ("dead", port)), Address(AF_INET, ("alive", port))]


def test_the_first_address_that_answers_is_taken_and_asked_first_next_time(clock: JumpClock) -> None:
    closing = ok(b"", "Connection: close")
    web = FakeWeb(99.0, [closing], [closing])
    client = Client(ClientOptions(), resolve=two_addresses, connect=web.connect)
    opened.append(client)
    assert fetch(client).connect == pytest.approx(0.25)  # RFC 8305: the second attempt begins then
    assert fetch(client).connect == 0.0
    assert [host for host, _ in web.asked] == ["dead", "alive", "alive"]


def test_a_refused_address_leads_to_the_next_at_once(clock: JumpClock) -> None:
    client = Client(ClientOptions(), resolve=two_addresses, connect=FakeWeb(Refused(), [ok()]).connect)
    opened.append(client)
    assert fetch(client).connect == 0.0


def test_all_addresses_refused_is_a_connect_error(clock: JumpClock) -> None:
    client = Client(ClientOptions(), resolve=two_addresses, connect=FakeWeb(Refused(), Refused()).connect)
    opened.append(client)
    with pytest.raises(ConnectError, match="refused"):
        fetch(client)


def test_a_refused_connection_is_a_connect_error(clock: JumpClock) -> None:
    fails_with(ConnectError, Refused(), match="Connection refused")


@pytest.mark.parametrize(
    ("script", "error", "seconds"),
    (
        (99.0, ConnectTimeout, 3.0),
        ([], ReadTimeout, 5.0),
        ([4.0, ok(b"hello")[:-2]], ReadTimeout, 9.0),
        ([ok(b"x" * 100)[:-99], *[4.0, b"x"] * 9], TotalTimeout, 20.0),
    ),
    ids=["connect", "first byte", "in the body", "drip"],
)
def test_deadlines_are_kept_to_the_second(
    clock: JumpClock, script: Script | float, error: type[Exception], seconds: float
) -> None:
    fails_with(error, script, connect_timeout=3.0, read_timeout=5.0, total_timeout=20.0)
    assert clock.now() == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("script", "error", "status"),
    (
        ([b""], EmptyReply, None),
        ([RESET], ConnectionLost, None),
        ([b"SSH-2.0-x\r\n"], ProtocolError, None),
        ([b"HTTP/1.1 200 OK\r\nConte", b""], IncompleteBody, None),
        ([ok(b"hello")[:-2], b""], IncompleteBody, 200),
        ([ok(b"hello")[:-2], RESET], IncompleteBody, 200),
        ([ok(b"plain", "Content-Encoding: gzip")], DecodeError, 200),
        ([ok(b"x" * 2000)], BodyTooLarge, 200),
        ([ok(b"x" * 2000)[:-1000], b"x" * 1000], BodyTooLarge, 200),
        ([ok(gzip.compress(bytes(2000)), "Content-Encoding: gzip")], BodyTooLarge, 200),
        ([ok(gzip.compress(b"x" * 500)[:-4], "Content-Encoding: gzip")], DecodeError, 200),
    ),
)
def test_failures_have_names_and_the_trace_keeps_what_came_before(
    clock: JumpClock, script: Script, error: type[Exception], status: int | None
) -> None:
    assert fails_with(error, script, max_body_bytes=1000).status == status


def test_a_failed_fetch_leaves_its_place() -> None:
    client = client_of(FakeWeb([b""], [b"rubbish\r\n"], Refused()))
    for _ in range(3):
        with pytest.raises((ConnectionLost, ProtocolError, ConnectError)):
            fetch(client)
    assert client.lanes.statistics()[1:] == (0, 0, 0)


# -- redirects


def redirect(location: str, status: str = "302 Found", body: bytes = b"") -> bytes:
    return ok(body, f"Location: {location}", status=status)


@pytest.mark.parametrize("status", ("301 X", "302 X", "303 X", "307 X", "308 X"))
def test_redirects_are_followed_and_noted(status: str) -> None:
    web = FakeWeb([redirect("/b?c", status), ok(b"there")])
    trace = fetch(client_of(web), "http://h/a")
    assert (trace.url.text, trace.status, trace.size_bytes) == ("http://h/b?c", 200, 5)
    assert trace.hops == (Hop(int(status[:3]), "http://h/a"),)
    assert web.requests() == ["0 GET /a HTTP/1.1", "0 GET /b?c HTTP/1.1"]


@pytest.mark.parametrize("status", ("300 X", "304 X", "200 OK"))
def test_other_answers_with_a_location_are_answers(status: str) -> None:
    assert fetch(client_of(FakeWeb([redirect("/b", status)]))).status == int(status[:3])


def test_a_redirect_without_location_is_the_answer() -> None:
    assert fetch(client_of(FakeWeb([ok(b"", status="302 Found")]))).status == 302


def test_redirects_have_a_limit() -> None:
    trace = fails_with(RedirectError, [redirect("/x")] * 9, match="more than 3", max_redirects=3)
    assert len(trace.hops) == 3


def test_a_redirect_to_something_else_than_http_is_an_error() -> None:
    trace = fails_with(RedirectError, [redirect("file:///etc/passwd")], match="file")
    assert trace.status == 302


def test_all_redirects_share_one_deadline(clock: JumpClock) -> None:
    fails_with(TotalTimeout, [4.0, redirect("/x")] * 9, total_timeout=10.0)
    assert clock.now() == pytest.approx(10.0)


def test_waiting_for_a_place_behind_a_redirect_counts(clock: JumpClock) -> None:
    web = FakeWeb([50.0, ok()], [redirect("http://busy/")])
    client = client_of(web, per_host=1, total_timeout=60.0, read_timeout=60.0)
    first = spawn(fetch, client, "http://busy/")
    wait_all_blocked()
    client._transport._total_timeout = 5.0
    with pytest.raises(PoolTimeout):
        fetch(client, "http://h/")
    assert clock.now() == pytest.approx(5.0)
    assert first.wait().status == 200


def test_credentials_do_not_travel_with_a_redirect() -> None:
    web = FakeWeb([redirect("http://u:p@other/b")], [ok()])
    fetch(client_of(web), "http://user:pw@h/a")
    assert [b"Authorization" in connection.requests[0] for connection in web.connections] == [True, False]


def test_credentials_stay_with_their_origin_and_those_of_a_location_are_dropped() -> None:
    web = FakeWeb([redirect("http://u:p@h/b"), ok()])
    fetch(client_of(web), "http://user:pw@h/a")
    assert [b"Basic dXNlcjpwdw==" in request for request in web.connections[0].requests] == [True, True]


def test_a_short_body_of_a_redirect_is_read_and_a_long_one_is_not() -> None:
    web = FakeWeb([redirect("/b", body=b"x" * 100), redirect("/c", body=b"x" * (1 << 20))], [ok()])
    body = bytearray()
    trace = fetch(client_of(web, max_body_bytes=10), sink=body.extend)
    assert (trace.status, bytes(body)) == (200, b"ok")
    assert web.requests() == ["0 GET / HTTP/1.1", "0 GET /b HTTP/1.1", "1 GET /c HTTP/1.1"]


# -- real sockets


def test_pages_come_over_real_sockets_in_any_size() -> None:
    pages = {f"/{size}": ok(b"x" * size) for size in (0, 1, 65_000, 70_000, 3_000_000)}
    client = real_client()
    with web_server(pages.__getitem__) as port:
        threads = [spawn(fetch, client, f"http://127.0.0.1:{port}{path}") for path in pages]
        sizes = [thread.wait().size_bytes for thread in threads]
    assert sizes == [0, 1, 65_000, 70_000, 3_000_000]


AUTHORITY = trustme.CA()


def server_context(*names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(*names).configure_cert(context)
    return context


def trusting_ours() -> ssl.SSLContext:
    return trusting_only(AUTHORITY)


@pytest.mark.parametrize("size_bytes", (2, 500_000))
def test_pages_come_over_tls(size_bytes: int) -> None:
    client = real_client()
    with web_server(lambda path: ok(b"x" * size_bytes), context=server_context("127.0.0.1")) as port:
        first, second = (fetch(client, f"https://127.0.0.1:{port}/") for _ in range(2))
    assert (first.size_bytes, second.size_bytes) == (size_bytes, size_bytes)
    assert first.tls is not None
    assert second.tls is None


def test_the_third_tls_connection_resumes_a_session() -> None:
    context = server_context("127.0.0.1")
    client = real_client()
    with web_server(lambda path: ok(b"", "Connection: close"), context=context) as port:
        for _ in range(4):  # of the first, nothing is kept: to most origins it is the only one
            fetch(client, f"https://127.0.0.1:{port}/")
    assert context.session_stats()["hits"] == 2


def test_a_certificate_for_another_name_is_refused() -> None:
    untrusted = pytest.raises(TlsError, match=r"not to be trusted.*IP address mismatch")
    with web_server(lambda path: ok(), context=server_context("wrong.example")) as port, untrusted:
        fetch(real_client(), f"https://127.0.0.1:{port}/")


def test_plain_http_on_a_tls_port_is_called_so() -> None:
    client = real_client()
    wrong = pytest.raises(TlsError, match="does not speak TLS")
    with web_server(lambda path: ok(), greeting=ok(status="400 Bad Request")) as port, wrong:
        fetch(client, f"https://127.0.0.1:{port}/")


def test_a_connection_that_the_server_forgot_is_replaced(clock: JumpClock) -> None:
    web = FakeWeb([ok()], [ok(b"hello")])
    client = client_of(web, read_timeout=5.0)
    fetch(client)
    assert fetch(client).size_bytes == 5
    assert clock.now() == pytest.approx(5.0)


def test_a_server_that_resumes_nothing_is_not_offered_sessions_for_ever() -> None:
    context = server_context("127.0.0.1")
    context.num_tickets = 0
    client = real_client()
    with web_server(lambda path: ok(b"", "Connection: close"), context=context) as port:
        for _ in range(5):
            fetch(client, f"https://127.0.0.1:{port}/")
        (lane,) = client.lanes.by_key.values()
    assert (lane.can_resume, lane.session) == (False, None)
