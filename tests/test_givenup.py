"""Hosts that are given up, and hosts without a scheme that have no https."""

from collections.abc import Iterator
from socket import socket
from ssl import SSLCertVerificationError, SSLError
from typing import Any

import pytest
from fakes import ok, served_in_threads

from greenprobe.cli import cli, run
from greenprobe.engine.givenup import GivenUp
from greenprobe.engine.schemes import plain_url
from greenprobe.errors import (
    ConnectError,
    DnsError,
    EmptyReply,
    FetchError,
    ForbiddenAddress,
    HostGivenUp,
    PoolTimeout,
    ReadTimeout,
    TlsError,
)
from greenprobe.http.trace import Hop, Trace
from greenprobe.http.urls import read_url

HOST = "http://h"


def trace_of(status: int | None = None, hops: tuple[Hop, ...] = (), url: str = "https://h/") -> Trace:
    trace = Trace(read_url(url))
    trace.status, trace.hops = status, hops
    return trace


@pytest.mark.parametrize(
    ("between", "is_given_up"),
    (
        ((trace_of(), ConnectError()), True),
        ((trace_of(), PoolTimeout()), False),  # ours, not the host's
        ((trace_of(500), None), False),
        ((trace_of(200), EmptyReply()), False),  # it broke off in the middle, but it is there
        ((trace_of(None, (Hop(302, "http://h/"),)), ConnectError()), False),  # where it led is not
    ),
)
def test_a_host_that_does_not_answer_so_many_times_in_a_row_is_given_up(between: Any, is_given_up: bool) -> None:
    given_up = GivenUp(3)
    for trace, error in ((trace_of(), DnsError()), (trace_of(), ReadTimeout()), between):
        given_up.check(HOST)
        given_up.note(HOST, trace, error)
    assert (HOST in given_up) is is_given_up


def test_who_answers_after_all_is_taken_back_and_others_are_not_concerned() -> None:
    given_up = GivenUp(1)
    given_up.note(HOST, trace_of(), ConnectError())
    given_up.check("http://other")
    with pytest.raises(HostGivenUp, match="http://h was given up and not asked; errors in a row: 1"):
        given_up.check(HOST)
    given_up.note(HOST, trace_of(200), None)
    given_up.check(HOST)


def test_only_the_last_hosts_with_errors_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenprobe.engine.givenup.MAX_HOSTS", 2)
    given_up = GivenUp(1)
    for host in "abac":
        given_up.note(host, trace_of(), ConnectError())
    assert [host for host in "abc" if host in given_up] == ["a", "c"]


def caused(error: FetchError, cause: Exception) -> FetchError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "falls_back"),
    (
        (None, False),
        (ConnectError(), True),
        (EmptyReply(), True),
        (ReadTimeout(), True),
        (caused(TlsError(), SSLError()), True),
        (caused(TlsError(), SSLCertVerificationError()), False),
        (TlsError(), False),  # a pin
        (ForbiddenAddress(), False),
        (DnsError(), False),
    ),
)
def test_a_host_is_asked_in_the_clear_only_where_there_is_no_https(error: Exception | None, falls_back: bool) -> None:
    url = plain_url(b"h/x", read_url("https://h/x"), trace_of(), error)
    assert (url and url.text) == ("http://h/x" if falls_back else None)


@pytest.mark.parametrize(
    ("line", "url", "trace"),
    (
        (b"https://h/", "https://h/", trace_of()),
        (b"h", "http://h/", trace_of(url="http://h/")),
        (b"h", "https://h/", trace_of(200)),
        (b"h", "https://h/", trace_of(None, (Hop(302, "https://h/"),))),
    ),
)
def test_who_has_a_scheme_or_has_answered_is_not_asked_in_the_clear(line: bytes, url: str, trace: Trace) -> None:
    assert plain_url(line, read_url(url), trace, ConnectError()) is None


def speak_plain(sock: socket) -> None:
    """Answer HTTP, and hang up on whoever greets in TLS."""
    with sock:
        if sock.recv(65536).startswith(b"GET"):
            sock.sendall(ok(b"", "Connection: close"))


@pytest.fixture
def port() -> Iterator[int]:
    with served_in_threads(speak_plain, []) as port:
        yield port


def lines_of(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return capfd.readouterr().out.splitlines()


def test_fetch_finds_out_whether_there_is_https(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["--scheme", "auto", "--retries", "1", "--format", "csv", "--fields", "final_url,status,attempts"]
    run(cli, ["fetch", *words, f"127.0.0.1:{port}"])
    assert lines_of(capfd)[1:] == [f"http://127.0.0.1:{port}/,200,1"]


@pytest.mark.parametrize("pace", ([], ["--per-host", "1"], ["--host-rate", "1000"]))
def test_fetch_gives_a_host_up(pace: list[str], port: int, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["-c", "2", "--max-host-errors", "3", "--format", "csv", "--fields", "status,error", *pace]
    run(cli, ["fetch", *words, "http://127.0.0.1:1/{1..20}", f"http://127.0.0.1:{port}/"])
    found = lines_of(capfd)[1:]
    assert found.count("200,") == 1
    assert found.count(",HostGivenUp") >= 16  # two may have been under way
    assert set(found) == {"200,", ",HostGivenUp", ",ConnectError"}
