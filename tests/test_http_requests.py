"""The client beyond GET: bodies, policies, proxies, streams; scripts played to it, and some real servers."""

import gzip
import io
import ssl
from collections.abc import Iterator
from typing import Any

import brotli
import pytest
import trustme
from backports import zstd
from fakes import FakeWeb, Script, ok, resolve_anything, web_server

from greenprobe.errors import (
    BodyTooLarge,
    ConnectTimeout,
    DecodeError,
    EmptyReply,
    FetchError,
    ForbiddenAddress,
    IncompleteBody,
    LocalProtocolError,
    PoolTimeout,
    ProtocolError,
    ProxyError,
    RedirectError,
    TlsError,
    WriteTimeout,
)
from greenprobe.greenthread import spawn
from greenprobe.http.auth import Basic, Digest
from greenprobe.http.bodies import StreamBody
from greenprobe.http.client import Client
from greenprobe.http.cookies import CookieJar
from greenprobe.http.options import ClientOptions, Hooks
from greenprobe.http.proxy import Proxies, read_proxy
from greenprobe.http.request import Request
from greenprobe.http.response import StatusError
from greenprobe.http.retries import RetryPolicy
from greenprobe.http.trace import Trace
from greenprobe.http.trust import TlsOptions, read_pin, tls_context
from greenprobe.http.urls import read_url
from greenprobe.hub import Hub, get_hub
from greenprobe.testing import JumpClock, wait_all_blocked

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


def sent(web: FakeWeb, number: int = 0) -> bytes:
    """Return all that was sent on one connection."""
    return b"".join(web.connections[number].requests)


# -- methods and bodies


def test_a_post_has_its_body_and_its_answer(clock: JumpClock) -> None:
    web = FakeWeb([ok(b'{"a": 1}', "Content-Type: application/json")])
    response = client_of(web).post("http://h/p", b"hello", headers={"X-Y": "z"})
    assert (response.status, response.json(), response.header("Content-Type")) == (200, {"a": 1}, "application/json")
    assert sent(web).startswith(b"POST /p HTTP/1.1\r\nHost: h\r\n")
    assert sent(web).endswith(b"X-Y: z\r\nContent-Length: 5\r\n\r\nhello")


def test_a_head_is_over_after_its_head(clock: JumpClock) -> None:
    web = FakeWeb([b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", ok()])
    client = client_of(web)
    assert client.head("http://h/").header("content-length") == "500"
    assert client.get("http://h/").content == b"ok"
    assert len(web.connections) == 1


def test_a_stream_is_sent_in_chunks_and_once_only(clock: JumpClock) -> None:
    web = FakeWeb([ok()])
    client_of(web).put("http://h/", iter([b"ab", b"", b"c" * 20]))
    assert sent(web).endswith(b"\r\n\r\n2\r\nab\r\n14\r\n" + b"c" * 20 + b"\r\n0\r\n\r\n")


def test_json_forms_and_files_are_written_as_such(clock: JumpClock) -> None:
    web = FakeWeb([ok(), ok(), ok()])
    client = client_of(web)
    client.post("http://h/", json={"a": 1})
    client.post("http://h/", form={"a": "b c"})
    client.post("http://h/", io.BytesIO(b"file"))
    assert [part.partition(b"\r\n\r\n")[2].partition(b"POST")[0] for part in sent(web).split(b"Host: h")[1:]] == [
        b'{"a":1}',
        b"a=b+c",
        b"file",
    ]


def test_a_stale_connection_is_replaced_for_a_put_and_not_for_a_post(clock: JumpClock) -> None:
    web = FakeWeb([ok(), b""], [ok()])
    client = client_of(web)
    client.get("http://h/")
    assert client.put("http://h/", b"x").status == 200
    web = FakeWeb([ok(), b""], [ok()])
    client = client_of(web)
    client.get("http://h/")
    with pytest.raises(EmptyReply):
        client.post("http://h/", b"x")


def test_a_post_becomes_a_get_behind_303_and_stays_one_behind_307(clock: JumpClock) -> None:
    web = FakeWeb([ok(b"", "Location: /b", status="303 X"), ok(b"", "Location: /c", status="307 X"), ok()])
    client = client_of(web)
    client.post("http://h/a", b"x")
    assert [line.split()[1] for line in web.requests()] == ["POST", "GET", "GET"]
    web = FakeWeb([ok(b"", "Location: /b", status="307 X"), ok()])
    client_of(web).post("http://h/a", b"body")
    assert sent(web).count(b"\r\n\r\nbody") == 2


def test_a_stream_cannot_follow_a_307(clock: JumpClock) -> None:
    web = FakeWeb([ok(b"", "Location: /b", status="307 X"), ok()])
    with pytest.raises(RedirectError, match="cannot be sent twice"):
        client_of(web).post("http://h/a", iter([b"x"]))


# -- Expect: 100-continue, and servers that answer early


def test_the_body_waits_for_100(clock: JumpClock) -> None:
    web = FakeWeb([b"HTTP/1.1 100 Continue\r\n\r\n", ok()])
    assert client_of(web).post("http://h/", b"body", expects_continue=True).status == 200
    assert [b"Expect: 100-continue" in web.connections[0].requests[0], web.connections[0].requests[1]] == [
        True,
        b"body",
    ]


def test_the_body_does_not_wait_for_ever(clock: JumpClock) -> None:
    web = FakeWeb([5.0, ok()])
    assert client_of(web).post("http://h/", b"body", expects_continue=True).status == 200
    assert web.connections[0].requests[1] == b"body"


def test_a_100_and_the_answer_may_come_at_once(clock: JumpClock) -> None:
    web = FakeWeb([b"HTTP/1.1 100 Continue\r\n\r\n" + ok()])
    assert client_of(web).post("http://h/", b"body", expects_continue=True).content == b"ok"


@pytest.mark.parametrize("first", [[b"HTTP/1.1 103 Early Hints\r\n\r\n"], [b"HT", b"TP/1.1 1", b"00 Continue\r\n\r\n"]])
def test_other_interim_answers_and_halves_of_one_do_not_keep_the_body_back(
    clock: JumpClock, first: list[bytes]
) -> None:
    web = FakeWeb([*first, ok()])
    assert client_of(web).post("http://h/", b"body", expects_continue=True).status == 200
    assert sent(web).endswith(b"\r\n\r\nbody")


def test_a_refusal_comes_instead_of_100_and_the_body_is_not_sent(clock: JumpClock) -> None:
    web = FakeWeb([ok(b"no", status="417 No")], [ok()])
    client = client_of(web)
    assert client.post("http://h/", b"body", expects_continue=True).status == 417
    assert len(web.connections[0].requests) == 1
    client.get("http://h/")
    assert len(web.connections) == 2


def test_an_answer_to_half_a_body_is_the_answer() -> None:
    def respond(path: str) -> bytes:
        return ok(b"too large", "Connection: close", status="413 No")

    with web_server(respond) as port, Client() as client:
        body = StreamBody([b"x" * 65536] * 200)
        try:
            assert client.request("POST", f"http://127.0.0.1:{port}/", body).status == 413
        except FetchError:
            pass  # the reset overtook the answer: the kernel's business


def test_a_peer_that_reads_nothing_is_a_write_timeout(clock: JumpClock) -> None:
    web = FakeWeb([])

    def stuck(data: bytes, deadline: float) -> None:
        get_hub().sleep_until(deadline)
        raise TimeoutError

    client = client_of(web, read_timeout=7.0)
    web.connect, connect = (lambda *args: jam(connect(*args), stuck)), web.connect  # type: ignore[method-assign]
    client = client_of(web, read_timeout=7.0)
    with pytest.raises(WriteTimeout):
        client.post("http://h/", b"body")
    assert clock.now() == pytest.approx(7.0)


def test_a_peer_that_answered_and_reads_no_more_has_answered(clock: JumpClock) -> None:
    web = FakeWeb([ok(b"too large", status="413 No")], [ok()])
    connect = web.connect

    def stuck(data: bytes, deadline: float) -> None:
        get_hub().sleep_until(deadline)
        raise TimeoutError

    web.connect = lambda *args: jam(connect(*args), stuck)  # type: ignore[method-assign]
    client = client_of(web, read_timeout=7.0)
    assert client.post("http://h/", b"body").status == 413
    web.connect = connect  # type: ignore[method-assign]
    client = client_of(web)
    assert client.get("http://h/").status == 200


def jam(connection: Any, send: Any) -> Any:
    """Replace how a connection sends."""
    connection.send = send
    return connection


# -- authorization and cookies


def test_digest_answers_a_challenge_once() -> None:
    refused = ok(b"no", 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"', status="401 No")
    web = FakeWeb([refused, ok(b"in")])
    response = client_of(web).get("http://h/p", auth=Digest("u", "p"))
    assert (response.content, len(web.requests())) == (b"in", 2)
    assert b'uri="/p"' in web.connections[0].requests[1]
    web = FakeWeb([refused, refused])
    response = client_of(web).get("http://h/p", auth=Digest("u", "p"))
    assert (response.status, response.content) == (401, b"no")


def test_those_who_are_asked_at_once_all_answer(clock: JumpClock) -> None:
    """That somebody else has answered the same nonce does not mean that we were refused."""
    refused = ok(b"no", 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"', status="401 No")
    web = FakeWeb([1.0, refused, 1.0, ok(b"in")], [1.5, refused, 1.0, ok(b"in")])
    client = client_of(web, auth=Digest("u", "p"))
    greens = [spawn(client.get, "http://h/p") for _ in range(2)]
    assert [green.wait().content for green in greens] == [b"in", b"in"]


def test_one_origin_is_not_answered_with_the_nonce_of_another(clock: JumpClock) -> None:
    def asks(nonce: str) -> bytes:
        return ok(b"no", f'WWW-Authenticate: Digest realm="r", nonce="{nonce}", qop="auth"', status="401 No")

    web = FakeWeb([1.0, asks("one")[:-1], 1.0, b"o", ok(b"in")], [1.5, asks("two")[:-1], 1.0, b"o", ok(b"in")])
    client = client_of(web, auth=Digest("u", "p"))
    greens = [spawn(client.get, url) for url in ("http://a/", "http://b/")]
    assert [green.wait().content for green in greens] == [b"in", b"in"]
    assert [b'nonce="one"' in sent(web), b'nonce="two"' in sent(web)] == [True, False]


def test_fresh_nonces_without_end_are_answered_twice() -> None:
    web = FakeWeb([ok(b"", f'WWW-Authenticate: Digest realm="r", nonce="{n}"', status="401 No") for n in range(9)])
    assert client_of(web).get("http://h/p", auth=Digest("u", "p")).status == 401
    assert len(web.requests()) == 3


@pytest.mark.parametrize("options", [{"headers": (("X", "a\r\nY: b"),)}, {"user_agent": "a\r\nb"}])
def test_defaults_cannot_break_out_of_their_lines(options: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        client_of(FakeWeb([]), **options)


def test_default_secrets_stay_with_the_origin_that_was_asked() -> None:
    web = FakeWeb([ok(b"", "Location: http://other/", status="302 X")], [ok()])
    client = client_of(web, headers=(("Authorization", "secret"), ("X-All", "1")), auth=None)
    client.fetch(Trace(read_url("http://h/")))
    assert [b"secret" in sent(web, n) for n in (0, 1)] == [True, False]
    assert [b"X-All" in sent(web, n) for n in (0, 1)] == [True, True]


def test_a_host_of_the_options_is_the_only_one_and_stays_with_the_origin_that_was_asked() -> None:
    web = FakeWeb([ok(b"", "Location: /b", status="302 X"), ok(b"", "Location: http://other/", status="302 X")], [ok()])
    client_of(web, headers=(("Host", "named"),)).fetch(Trace(read_url("http://h/")))
    assert [each for each in sent(web).split(b"\r\n") if each.startswith(b"Host")] == [b"Host: named"] * 2
    assert [each for each in sent(web, 1).split(b"\r\n") if each.startswith(b"Host")] == [b"Host: other"]


def test_auth_of_the_options_stays_with_the_origin_that_was_asked() -> None:
    web = FakeWeb([ok(b"", "Location: http://other/", status="302 X")], [ok()])
    client_of(web, auth=Basic("u", "p")).fetch(Trace(read_url("http://h/")))
    assert [b"Authorization" in sent(web, n) for n in (0, 1)] == [True, False]


def test_cookies_are_kept_and_sent() -> None:
    web = FakeWeb([ok(b"", "Set-Cookie: a=1", "Set-Cookie: b=2; Domain=other", status="200 X"), ok()])
    client = client_of(web, cookies=CookieJar())
    client.get("http://h/")
    client.get("http://h/x")
    assert b"Cookie: a=1\r\n" in web.connections[0].requests[1]


def test_cookies_of_a_redirect_are_sent_to_where_it_leads() -> None:
    web = FakeWeb([ok(b"", "Set-Cookie: a=1", "Location: /in", status="302 X"), ok()])
    client_of(web, cookies=CookieJar()).get("http://h/")
    assert b"Cookie: a=1\r\n" in web.connections[0].requests[1]


# -- retries


def test_a_busy_server_is_asked_again_after_its_time(clock: JumpClock) -> None:
    web = FakeWeb([ok(b"no", "Retry-After: 7", status="503 No"), ok(b"yes")])
    response = client_of(web, retries=RetryPolicy(2)).get("http://h/")
    assert (response.content, response.trace.attempts) == (b"yes", 2)
    assert clock.now() == pytest.approx(7.0)


def test_the_last_answer_is_the_answer_when_retries_are_used_up(clock: JumpClock) -> None:
    web = FakeWeb([ok(b"1", status="503 No"), ok(b"2", status="503 No")])
    response = client_of(web, retries=RetryPolicy(1)).get("http://h/")
    assert (response.status, response.content) == (503, b"2")


def test_a_retry_after_of_years_is_not_waited_for(clock: JumpClock) -> None:
    web = FakeWeb([ok(b"no", "Retry-After: 999999999", status="503 No")])
    response = client_of(web, retries=RetryPolicy(3)).get("http://h/")
    assert (response.status, response.content, clock.now()) == (503, b"no", 0.0)


def test_a_broken_answer_is_fetched_again_and_its_body_begins_anew(clock: JumpClock) -> None:
    web = FakeWeb([ok(b"abcdef")[:-3], b""], [ok(b"abcdef")])
    response = client_of(web, retries=RetryPolicy(1)).get("http://h/")
    assert response.content == b"abcdef"


def test_a_post_is_not_repeated(clock: JumpClock) -> None:
    web = FakeWeb([ok(b"no", status="503 No")])
    assert client_of(web, retries=RetryPolicy(3)).post("http://h/", b"x").status == 503


# -- ranges


@pytest.mark.parametrize(
    ("asked", "given", "good"),
    (
        ("bytes=2-", "bytes 2-9/10", True),
        ("bytes=2-5", "bytes 2-5/*", True),
        ("bytes=2-", "bytes 0-9/10", False),
        ("bytes=2-5", "bytes 2-9/10", False),
        ("bytes=2-", "chars 2-9/10", False),
        (None, "bytes 2-9/10", False),
    ),
)
def test_another_part_than_asked_is_an_error(asked: str | None, given: str, good: bool) -> None:
    client = client_of(FakeWeb([ok(b"x", f"Content-Range: {given}", status="206 P")]))
    headers = {"Range": asked} if asked else {}
    if good:
        assert client.get("http://h/", headers=headers).status == 206
    else:
        with pytest.raises(ProtocolError):
            client.get("http://h/", headers=headers)


def test_a_range_of_the_options_was_asked_for_too(clock: JumpClock) -> None:
    part = ok(b"x", "Content-Range: bytes 5-5/9", status="206 P")
    client = client_of(FakeWeb([part, part]), headers=(("Range", "bytes=5-5"),))
    client.fetch(trace := Trace(read_url("http://h/")))
    assert trace.status == 206
    with pytest.raises(ProtocolError, match="not the 'bytes=1-1' that was asked for"):
        client.get("http://h/", headers={"Range": "bytes=1-1"})


# -- proxies


def proxied(web: FakeWeb, text: str, **options: Any) -> Client:
    return client_of(web, proxies=Proxies.always(read_proxy(text)), **options)


def test_a_proxy_gets_the_whole_url_and_who_we_are() -> None:
    web = FakeWeb([ok(), ok()])
    client = proxied(web, "http://u:p@proxy:3128")
    client.fetch(Trace(read_url("http://h:81/a")))
    client.post("http://h:81/b", b"x")
    assert web.asked == [("proxy", 3128)]
    for request in web.connections[0].requests:
        assert b" http://h:81/" in request.splitlines()[0]
        assert b"\r\nHost: h:81\r\n" in request
        assert b"\r\nProxy-Authorization: Basic dTpw\r\n" in request


def test_407_of_a_proxy_is_its_own_error() -> None:
    with pytest.raises(ProxyError, match="407"):
        proxied(FakeWeb([ok(status="407 No")]), "proxy:3128").get("http://h/")


def test_407_of_an_origin_behind_a_proxy_is_its_answer(clock: JumpClock) -> None:
    web = FakeWeb([b"\x05\x00", b"\x05\x00\x00\x01\0\0\0\0\0\0", ok(b"no", status="407 No")])
    assert proxied(web, "socks5h://proxy").get("http://h/").status == 407


def test_socks_carries_a_request(clock: JumpClock) -> None:
    web = FakeWeb([b"\x05\x00", b"\x05\x00\x00\x01" + bytes(6), ok(b"in")])
    assert proxied(web, "socks5h://proxy").get("http://h/").content == b"in"
    assert web.asked == [("proxy", 1080)]
    assert web.connections[0].requests[1] == b"\x05\x01\x00\x03\x01h\x00\x50"


def test_a_proxy_that_never_answers_is_a_connect_timeout(clock: JumpClock) -> None:
    with pytest.raises(ConnectTimeout, match="opened no way"):
        proxied(FakeWeb([]), "socks5h://proxy").get("http://h/")
    assert clock.now() == pytest.approx(10.0)


@pytest.mark.parametrize("url", ("http://127.0.0.1/", "http://[::1]/", "http://10.0.0.1/"))
def test_a_proxy_is_no_way_around_the_refusal_of_private_addresses(url: str) -> None:
    with pytest.raises(ForbiddenAddress):
        proxied(FakeWeb([ok()]), "socks5h://proxy", allows_private=False).get(url)


# -- private addresses


def test_private_addresses_are_refused_after_resolution_and_behind_redirects() -> None:
    with web_server(lambda _: ok()) as port, Client(ClientOptions(allows_private=False)) as client:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            with pytest.raises(ForbiddenAddress, match="no public address"):
                client.get(f"http://{host}:{port}/")


# -- the pool


def test_connections_in_all_are_bounded_and_waited_for_in_order(clock: JumpClock) -> None:
    web = FakeWeb([5.0, ok(b"1")], [5.0, ok(b"2")], [5.0, ok(b"3")])
    client = client_of(web, max_open=1)
    done: list[bytes] = []
    greens = [spawn(lambda n: done.append(client.get(f"http://h{n}/").content), n) for n in range(3)]
    wait_all_blocked()
    assert len(web.connections) == 1
    for green in greens:
        green.wait()
    assert done == [b"1", b"2", b"3"]
    assert clock.now() == pytest.approx(15.0)
    assert client.lanes.statistics().busy == 0


def test_waiting_for_one_of_all_connections_ends_with_the_deadline(clock: JumpClock) -> None:
    web = FakeWeb([50.0, ok()], [ok()])
    client = client_of(web, max_open=1, read_timeout=60.0, total_timeout=60.0)
    first = spawn(client.get, "http://a/")
    wait_all_blocked()
    client._transport._total_timeout = 20.0
    with pytest.raises(PoolTimeout):
        client.get("http://b/")
    assert clock.now() == pytest.approx(20.0)
    assert first.wait().status == 200
    assert client.get("http://c/").status == 200


def test_whoever_is_killed_in_line_takes_nothing_along(clock: JumpClock) -> None:
    web = FakeWeb([5.0, ok()], [ok()])
    client = client_of(web, max_open=1)
    first = spawn(client.get, "http://a/")
    wait_all_blocked()
    second, third = spawn(client.get, "http://b/"), spawn(client.get, "http://c/")
    wait_all_blocked()
    second.kill()
    assert (first.wait().status, third.wait().status) == (200, 200)


# -- streams, hooks, errors


def test_a_stream_gives_the_head_first_and_then_the_pieces(clock: JumpClock) -> None:
    web = FakeWeb([ok(b"", "Location: /b", status="302 X"), ok(b"abcdef")[:-3], 5.0, b"def"])
    client = client_of(web)
    with client.stream("GET", "http://h/") as response:
        assert (response.status, response.url, clock.now()) == (200, "http://h/b", 0.0)
        assert b"".join(response) == b"abcdef"
    assert clock.now() == pytest.approx(5.0)


def test_a_stream_that_breaks_raises_where_it_is_read(clock: JumpClock) -> None:
    client = client_of(FakeWeb([ok(b"abcdef")[:-3], b""]))
    with client.stream("GET", "http://h/") as response, pytest.raises(IncompleteBody):
        list(response)


def test_a_stream_that_breaks_does_not_begin_anew_in_the_middle(clock: JumpClock) -> None:
    client = client_of(FakeWeb([ok(b"abcdef")[:-3], b""], [ok(b"abcdef")]), retries=RetryPolicy(1))
    with client.stream("GET", "http://h/") as response:
        pieces = iter(response)
        assert next(pieces) == b"abc"
        with pytest.raises(IncompleteBody):
            next(pieces)


def test_a_stream_that_never_began_is_asked_for_again(clock: JumpClock) -> None:
    client = client_of(FakeWeb([b""], [ok(b"abcdef")]), retries=RetryPolicy(1))
    with client.stream("GET", "http://h/") as response:
        assert b"".join(response) == b"abcdef"


def test_a_stream_that_is_left_closes_its_connection(clock: JumpClock) -> None:
    web = FakeWeb([ok(b"abcdef")[:-3]])
    client = client_of(web)
    with client.stream("GET", "http://h/"):
        pass
    assert web.connections[0].closed
    assert client.lanes.statistics().busy == 0


def test_a_stream_that_never_begins_raises_at_once(clock: JumpClock) -> None:
    with pytest.raises(EmptyReply):
        client_of(FakeWeb([b""])).stream("GET", "http://h/")


def test_a_large_body_is_streamed_in_constant_memory() -> None:
    def respond(path: str) -> bytes:
        return ok(b"x" * (1 << 22), "Connection: close")

    with web_server(respond) as port, Client() as client, client.stream("GET", f"http://127.0.0.1:{port}/") as response:
        sizes = [len(piece) for piece in response]
    assert sum(sizes) == 1 << 22
    assert max(sizes) <= 1 << 16


def test_hooks_see_every_step(clock: JumpClock) -> None:
    seen: list[str] = []

    def note(name: str) -> Any:
        return lambda trace, *rest: seen.append(" ".join([name, str(trace.status), *map(str, rest)]))

    hooks = Hooks(*(note(name) for name in Hooks._fields))
    web = FakeWeb(
        [
            ok(b"", "Location: /b", status="302 X"),
            ok(b"", "Retry-After: 3", status="503 No"),
            ok(b"", status="404 No"),
            ok(),
        ]
    )
    client_of(web, hooks=hooks, retries=RetryPolicy(1)).get("http://h/a")
    assert seen == [
        "request None",
        "connect None",
        "answer 302",
        "redirect 302",
        "request None",
        "answer 503",
        "retry 503 3.0",
        "request None",
        "answer 404",
        "done 404 None",
    ]


def test_raise_for_status_is_for_those_who_want_it(clock: JumpClock) -> None:
    response = client_of(FakeWeb([ok(status="404 No")])).get("http://h/")
    with pytest.raises(StatusError, match="404"):
        response.raise_for_status()


def test_bytes_both_ways_and_the_address_are_traced(clock: JumpClock) -> None:
    web = FakeWeb([ok(b"", "Location: /b", status="302 X"), ok(b"hello")])
    trace = Trace(read_url("http://h/"))
    client_of(web).fetch(trace)
    assert trace.sent_bytes == len(sent(web))
    assert trace.received_bytes == len(ok(b"", "Location: /b", status="302 X") + ok(b"hello"))
    assert trace.address is not None
    assert trace.address.sockaddr == ("h", 80)


# -- codings


@pytest.mark.parametrize(
    ("coding", "encode"),
    (("gzip", gzip.compress), ("br", brotli.compress), ("zstd", zstd.compress)),
)
def test_codings_are_undone_and_their_bombs_and_stumps_refused(coding: str, encode: Any) -> None:
    def answer(data: bytes) -> Script:
        return [ok(data, f"Content-Encoding: {coding}")]

    text = b"hello " * 1000
    assert client_of(FakeWeb(answer(encode(text)))).get("http://h/").content == text
    assert client_of(FakeWeb(answer(b""))).get("http://h/").content == b""
    with pytest.raises(DecodeError):
        client_of(FakeWeb(answer(encode(text)[:-5]))).get("http://h/")
    with pytest.raises(DecodeError):
        client_of(FakeWeb(answer(b"\xffnot at all"))).get("http://h/")
    with pytest.raises(BodyTooLarge, match="bomb"):
        client_of(FakeWeb(answer(encode(bytes(3_000_000))))).get("http://h/")


# -- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def test_tls_facts_pins_and_sessions(authority: trustme.CA, tmp_path: Any) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    ca_file = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(ca_file)

    def trust() -> Any:
        return tls_context(TlsOptions(ca_file=ca_file, min_version="1.3"))

    with web_server(lambda _: ok(b"", "Connection: close"), context=server) as port:
        url = f"https://localhost:{port}/"
        with Client(ClientOptions(notes_tls=True), trust=trust) as client:
            first, _, second = (client.get(url).trace.tls_facts for _ in range(3))
        assert first is not None
        assert second is not None
        assert (first.version, first.is_resumed, second.is_resumed) == ("TLSv1.3", False, True)
        assert first.certificate is not None
        assert first.certificate.names == ("localhost",)
        pins = frozenset({read_pin(first.certificate.sha256)})
        with Client(ClientOptions(pins=pins), trust=trust()) as client:
            assert client.get(url).status == 200
        wrong = ClientOptions(pins=frozenset({bytes(32)}))
        with Client(wrong, trust=trust) as client, pytest.raises(TlsError, match="not the pinned one"):
            client.get(url)


def test_a_request_that_was_built_by_hand_is_sent(clock: JumpClock) -> None:
    web = FakeWeb([ok()])
    client_of(web).fetch(Trace(read_url("http://h/")), request=Request.of("OPTIONS"))
    assert web.requests() == ["0 OPTIONS / HTTP/1.1"]
