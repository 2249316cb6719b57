"""DNS over TLS and over HTTPS: certificates are verified, connections are shared and kept, failures are named."""

import json
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, gaierror

import dns.message
import pytest
import trustme
from dns_servers import DnsServer, dns_server
from fakes import ok, web_server
from tls_contexts import trusting_only

from greenprobe.cli import cli, run
from greenprobe.dns.conf import ResolvConf
from greenprobe.dns.resolver import Resolver
from greenprobe.green_dns import choose
from greenprobe.greenthread import spawn
from greenprobe.http.dns_over_https import exchanges
from greenprobe.hub import Hub
from greenprobe.testing import JumpClock

AUTHORITY = trustme.CA()
RECORDS = {(f"n{number}.test.", "A"): [f"n{number}.test. 60 IN A 127.0.0.{number}"] for number in range(1, 10)}


def trust() -> ssl.SSLContext:
    return trusting_only(AUTHORITY)


def context_of(*names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture
def server(hub: Hub) -> Iterator[DnsServer]:
    """A DNS server over TLS, with a certificate for its address and a name."""
    with dns_server(RECORDS) as server:
        server.context = context_of("127.0.0.53", "dns.test")
        yield server


def resolver_of(server: str, trust: Callable[[], ssl.SSLContext] = trust) -> Resolver:
    conf = ResolvConf(timeout=20, attempts=1)
    return Resolver([server], conf=conf, hosts_path=os.devnull, trust=trust, exchanges=exchanges(trust))


@pytest.mark.parametrize("name", ["", "#dns.test"])
def test_many_questions_over_tls_share_one_connection(server: DnsServer, name: str) -> None:
    resolver = resolver_of("tls://{}:{}".format(*server.address) + name)
    greens = [spawn(resolver.look_up, f"n{number}.test", "A") for number in range(1, 10)]
    assert [green.wait().data for green in greens] == [(f"127.0.0.{number}",) for number in range(1, 10)]
    resolver.look_up("nowhere.test", "A")
    assert {way for _, _, way in server.asked} == {"tcp"}
    assert len(server._greens) == 3  # the two that listen, and one connection
    resolver.close()


def test_a_certificate_for_somebody_else_is_refused(server: DnsServer) -> None:
    resolver = resolver_of("tls://{}:{}#other.test".format(*server.address))
    fact = resolver.look_up("n1.test", "A")
    assert (fact.status, fact.data) == ("UNREACHABLE", ())
    assert "certificate" in fact.reason
    assert not server.asked


def test_a_certificate_of_an_unknown_authority_is_refused(server: DnsServer) -> None:
    resolver = resolver_of("tls://{}:{}".format(*server.address), ssl.create_default_context)
    assert resolver.look_up("n1.test", "A").status == "UNREACHABLE"


def test_a_connection_that_the_server_has_closed_meanwhile_is_opened_anew(hub: Hub, server: DnsServer) -> None:
    def close_after(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
        return [] if len(server.asked) == 2 else [response.to_wire()]  # nothing to say: hangs up

    server.tricks = {"n2": close_after}
    resolver = resolver_of("tls://{}:{}".format(*server.address))
    assert [resolver.look_up(f"n{number}.test", "A").data for number in (1, 2, 3)] == [
        ("127.0.0.1",), ("127.0.0.2",), ("127.0.0.3",)
    ]  # fmt: skip
    resolver.close()


def test_an_idle_connection_is_closed_after_a_while(hub: Hub, clock: JumpClock, server: DnsServer) -> None:
    resolver = resolver_of("tls://{}:{}".format(*server.address))
    resolver.look_up("n1.test", "A")
    hub.sleep(11)
    resolver.look_up("n2.test", "A")
    assert len(server._greens) == 4
    resolver.close()


# -- HTTPS


def answered(path: str) -> bytes:
    """Answer any question with a record, as nobody reads the body of the request here."""
    response = dns.message.make_response(dns.message.make_query("n1.test.", "A", id=0))
    response.answer.append(dns.rrset.from_text("n1.test.", 60, "IN", "A", "127.0.0.1"))
    kind = "text/html" if path == "/html" else "application/dns-message"
    status = "500 Oops" if path == "/500" else "200 OK"
    return ok(response.to_wire(), f"Content-Type: {kind}", "Connection: close", status=status)


@pytest.fixture
def web(hub: Hub) -> Iterator[int]:
    with web_server(answered, context=context_of("127.0.0.1", "dns.test")) as port:
        yield port


@pytest.mark.parametrize("name", ["", "#dns.test"])
def test_a_question_over_https_is_answered(web: int, name: str) -> None:
    resolver = resolver_of(f"https://127.0.0.1:{web}/dns-query{name}")
    assert resolver.look_up("n1.test", "A").data == ("127.0.0.1",)
    resolver.close()


@pytest.mark.parametrize(
    ("path", "name", "reason"),
    [("/500", "n1", "HTTP status 500"), ("/html", "n1", "text/html"), ("/dns-query", "n2", "is about n1.test.")],
)
def test_what_is_no_answer_over_https_is_named(web: int, path: str, name: str, reason: str) -> None:
    resolver = resolver_of(f"https://127.0.0.1:{web}{path}")
    fact = resolver.look_up(f"{name}.test", "A")
    assert fact.data == ()
    assert reason in fact.reason
    resolver.close()


def test_a_web_server_that_is_not_to_be_trusted_is_refused(web: int) -> None:
    resolver = resolver_of(f"https://127.0.0.1:{web}/dns-query#other.test")
    assert "certificate" in resolver.look_up("n1.test", "A").reason
    resolver.close()


def test_the_environment_may_name_a_server_over_https(web: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENPROBE_DNS", f"https://127.0.0.1:{web}/dns-query")
    with pytest.raises(gaierror, match="certificate"):  # ours is signed by nobody that the system knows
        choose().getaddrinfo("n1.test.", 80, AF_INET, SOCK_STREAM, 0, 0, None, None)


@pytest.mark.parametrize("protocol", ["tls", "https"])
def test_the_command_asks_over_tls_and_https(
    server: DnsServer, web: int, protocol: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names").write_text("n1.test\n")
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    address = "{}:{}".format(*server.address) if protocol == "tls" else f"127.0.0.1:{web}"
    words = ["resolve", str(tmp_path / "names"), "-s", f"{protocol}://{address}", "--retries", "0"]
    assert run(cli, [*words, "--ca-file", str(tmp_path / "ca.pem")]) == 0
    assert "127.0.0.1" in capfd.readouterr().out
    assert run(cli, words) == 1
    assert run(cli, [*words, "-k"]) == 0


@pytest.mark.slow
def test_a_command_asks_over_tls_and_https_those_whom_it_is_told_to_trust(
    server: DnsServer, web: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Slow: four runs, two of which load the system's authorities."""
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for url in ("tls://{}:{}".format(*server.address), f"https://127.0.0.1:{web}/dns-query"):
        words = ["fetch", "http://n1.test:1/", "--dns", url]
        run(cli, [*words, "--ca-file", str(tmp_path / "ca.pem")])
        assert json.loads(capfd.readouterr().out)["error"]["class"] == "ConnectError"  # the name was found
        run(cli, words)
        error = json.loads(capfd.readouterr().out)["error"]
        assert (error["class"], "certificate" in error["message"]) == ("DnsError", True)
