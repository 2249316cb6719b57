"""`greenprobe resolve` as somebody types it: words in, lines and an exit code out."""

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.zone
import pytest
from dns_servers import DnsServer, ZoneServer, dns_server

from greenprobe.cli import cli, run
from greenprobe.engine.namelist import Subject, subjects
from greenprobe.hub import Hub
from greenprobe.testing import JumpClock

RECORDS = {
    ("a.test.", "A"): ["a.test. 60 IN A 127.0.0.1", "a.test. 60 IN A 127.0.0.2"],
    ("a.test.", "MX"): ["a.test. 60 IN MX 10 mail.a.test."],
    ("alias.test.", "CNAME"): ["alias.test. 60 IN CNAME a.test.", "a.test. 60 IN A 127.0.0.1"],
    ("evil.test.", "TXT"): ['evil.test. 60 IN TXT "=cmd|calc \\027[2J"'],
    ("1.0.0.127.in-addr.arpa.", "PTR"): ["1.0.0.127.in-addr.arpa. 60 IN PTR a.test."],
    ("xn--bcher-kva.test.", "A"): ["xn--bcher-kva.test. 60 IN A 127.0.0.8"],
}


def silence(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
    return []


class Wild(DnsServer):
    """Every name below wild.test has the same address."""

    def respond(self, query: dns.message.Message) -> dns.message.Message:
        name = query.question[0].name.to_text()
        if name.endswith(".wild.test."):
            self.records[(name.lower(), "A")] = [f"{name} 60 IN A 127.0.0.9"]
        return super().respond(query)


@pytest.fixture
def server(hub: Hub) -> Iterator[DnsServer]:
    with dns_server(RECORDS, {"silent": silence}) as server:
        yield server


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """A list with a line of each kind."""
    path = tmp_path / "names.txt"
    path.write_bytes(b"a.test\nnowhere.test\n\nb\xc3\xbccher.test\n127.0.0.1\na..test\n\xff\n127.0.0.0/31\n")
    return path


def words(names: Path, server: DnsServer, *more: str) -> list[str]:
    host, port = server.address
    return ["resolve", str(names), "--servers", f"{host}:{port}", *more]


def rows(text: str) -> list[dict[str, Any]]:
    return sorted(map(json.loads, text.splitlines()), key=lambda row: (row["line"], row["name"]))


def test_every_name_becomes_exactly_one_json_line(
    names: Path, server: DnsServer, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(cli, words(names, server)) == 1
    out, err = capfd.readouterr()
    found = rows(out)
    assert [(row["line"], row["name"], row["status"]) for row in found] == [
        (1, "a.test", "NOERROR"),
        (2, "nowhere.test", "NXDOMAIN"),
        (4, "b\u00fccher.test", "NOERROR"),
        (5, "127.0.0.1", "NOERROR"),
        (6, "a..test", "BADNAME"),
        (7, "\\xff", "BADNAME"),
        (8, "127.0.0.0", "NXDOMAIN"),
        (8, "127.0.0.1", "NOERROR"),
    ]
    assert [answer["data"] for answer in found[0]["answers"]] == ["127.0.0.1", "127.0.0.2"]
    assert found[3]["answers"] == [{"name": "1.0.0.127.in-addr.arpa.", "type": "PTR", "ttl": 60, "data": "a.test."}]
    (query,) = found[0]["queries"]
    assert (query["type"], query["protocol"], query["tries"]) == ("A", "udp", 1)
    assert query["server"] == "{}:{}".format(*server.address)
    assert err.startswith("8 names in ")
    assert err.endswith(": 4 NOERROR, 2 BADNAME, 2 NXDOMAIN; 6 queries, 0 timed out\n")


def test_names_may_be_words(server: DnsServer, capfd: pytest.CaptureFixture[str]) -> None:
    at = "{}:{}".format(*server.address)
    assert run(cli, ["resolve", "a.test", "--servers", at]) == 0
    assert run(cli, ["resolve", "a.test", "127.0.0.1", "127.0.0.0/31", "--servers", at]) == 0
    out, err = capfd.readouterr()
    assert sorted(row["name"] for row in rows(out)) == ["127.0.0.0", "127.0.0.1", "127.0.0.1", "a.test", "a.test"]
    assert err.startswith("1 name in ")
    assert "1 NOERROR; 1 query, " in err.splitlines()[0]


def test_a_block_alone_is_no_file(server: DnsServer, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["resolve", "127.0.0.0/31", "--servers", "{}:{}".format(*server.address)]) == 0
    assert len(rows(capfd.readouterr().out)) == 2


def test_all_answered_is_exit_code_0_also_with_there_is_none(names: Path, server: DnsServer) -> None:
    names.write_text("a.test\nnowhere.test\n")
    assert run(cli, words(names, server)) == 0


def test_several_types_are_one_record(names: Path, server: DnsServer, capfd: pytest.CaptureFixture[str]) -> None:
    names.write_text("a.test\n")
    run(cli, words(names, server, "-t", "a,mx,TXT,TYPE65280"))
    (row,) = rows(capfd.readouterr().out)
    assert [answer["type"] for answer in row["answers"]] == ["A", "A", "MX"]
    assert [query["type"] for query in row["queries"]] == ["A", "MX", "TXT", "TYPE65280"]
    assert row["status"] == "NOERROR"


def test_a_name_that_nobody_answers_for_says_what_each_server_said(
    names: Path, server: DnsServer, clock: JumpClock, capfd: pytest.CaptureFixture[str]
) -> None:
    names.write_text("silent.test\n")
    assert run(cli, words(names, server, "--timeout", "2", "--retries", "1")) == 1
    (row,) = rows(capfd.readouterr().out)
    assert row["status"] == "TIMEOUT"
    assert row["error"] == {"class": "TIMEOUT", "message": "{}:{}: timed out".format(*server.address)}
    assert row["queries"][0]["tries"] == 2
    assert clock.now() == pytest.approx(6, abs=0.1)


def test_another_server_is_asked_when_one_is_of_no_use(
    names: Path, server: DnsServer, clock: JumpClock, capfd: pytest.CaptureFixture[str]
) -> None:
    names.write_text("a.test\n" * 4)
    server.tricks = {"a": silence}
    with dns_server(RECORDS) as other:
        both = "{}:{},{}:{}".format(*server.address, *other.address)
        assert run(cli, ["resolve", str(names), "-s", both, "--retries", "1"]) == 0
    assert len(rows(capfd.readouterr().out)) == 4


def test_csv_has_a_heading_and_no_formulas(names: Path, server: DnsServer, capfd: pytest.CaptureFixture[str]) -> None:
    names.write_text("alias.test\n=cmd.test\n")
    run(cli, words(names, server, "--format", "csv"))
    found = {row["line"]: row for row in csv.DictReader(capfd.readouterr().out.splitlines())}
    assert found["1"]["answers"] == "CNAME a.test.; A 127.0.0.1"
    assert (found["1"]["status"], found["1"]["ttl"]) == ("NOERROR", "60")
    assert found["2"]["name"] == "'=cmd.test"


def test_text_and_zone_let_nothing_through_that_steers_a_terminal(
    names: Path, server: DnsServer, capfd: pytest.CaptureFixture[str]
) -> None:
    names.write_bytes(b"evil.test\n\x1b[2J.test\n")
    for form in ("text", "zone"):
        run(cli, words(names, server, "-t", "TXT", "--format", form))
        out = capfd.readouterr().out
        assert "calc" in out
        assert "\x1b" not in out


def test_a_zone_file_can_be_read_and_names_without_answers_are_comments(
    names: Path, server: DnsServer, capfd: pytest.CaptureFixture[str]
) -> None:
    names.write_text("a.test\nalias.test\nnowhere.test\n")
    run(cli, words(names, server, "--format", "zone"))
    out = capfd.readouterr().out
    zone = dns.zone.from_text(out, origin="test.", relativize=False, check_origin=False)
    assert {str(name) for name in zone} == {"a.test.", "alias.test."}
    assert "; nowhere.test NXDOMAIN\n" in out


def test_aliases_in_a_circle_are_no_answer(names: Path, hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    names.write_text("circle.test\n")
    with dns_server({("circle.test.", "CNAME"): ["circle.test. 60 IN CNAME circle.test."]}) as server:
        assert run(cli, words(names, server)) == 1
        (row,) = rows(capfd.readouterr().out)
        assert (row["status"], row["answers"]) == ("MALFORMED", [])
        assert "go in a circle" in row["error"]["message"]
        assert run(cli, words(names, server, "-t", "CNAME")) == 0  # that one it has


def test_a_url_is_no_name(server: DnsServer, names: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names.write_text("http://a.test/\n")
    assert run(cli, words(names, server)) == 1
    (row,) = rows(capfd.readouterr().out)
    assert row["status"] == "BADNAME"
    assert "is a URL" in row["error"]["message"]
    assert not server.asked


def test_wildcards_are_told_from_names_that_somebody_made(
    hub: Hub, names: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names.write_text("x.wild.test\ny.wild.test\na.test\nnowhere.test\n")
    server = Wild(dict(RECORDS))
    try:
        run(cli, words(names, server, "--wildcards"))
    finally:
        server.close()
    found = {row["name"]: row["wildcard"] for row in rows(capfd.readouterr().out)}
    assert found == {"x.wild.test": True, "y.wild.test": True, "a.test": False, "nowhere.test": False}


def test_a_rate_is_kept(names: Path, server: DnsServer, clock: JumpClock) -> None:
    names.write_text("a.test\n" * 21)
    run(cli, words(names, server, "--rate", "10"))
    assert clock.now() == pytest.approx(2, abs=0.1)


def test_servers_may_be_in_a_file(names: Path, server: DnsServer, tmp_path: Path) -> None:
    names.write_text("a.test\n")
    (tmp_path / "servers").write_text("# ours\n{}:{}\n".format(*server.address))
    assert run(cli, ["resolve", str(names), "-s", str(tmp_path / "servers")]) == 0


def test_a_block_is_made_as_it_is_taken_and_one_too_large_is_refused() -> None:
    block = subjects(1, b"10.0.0.0/8")
    assert isinstance(block, Iterator)
    assert next(block).name == "0.0.0.10.in-addr.arpa"
    for line in (b"2001:db8::/64", b"1.2.3.4/99"):
        refused = subjects(1, line)
        assert isinstance(refused, Subject)
        assert refused.fault


# -- from the root


@pytest.fixture
def hierarchy(hub: Hub) -> Iterator[dict[str, ZoneServer]]:
    """A root, a top-level domain and two zones below it, each on an address of its own, all on one port."""
    servers = {"root": ZoneServer({}, {}, host="127.0.0.60")}
    port = servers["root"].address[1]
    addresses = {"tld": "127.0.0.61", "leaf": "127.0.0.62", "other": "127.0.0.63"}
    zones: dict[str, dict[tuple[str, str], list[str]]] = {
        "tld": {},
        "leaf": {
            ("www.leaf.test.", "A"): ["www.leaf.test. 60 IN A 192.0.2.1"],
            ("alias.leaf.test.", "CNAME"): ["alias.leaf.test. 60 IN CNAME www.other.test."],
            ("ns.leaf.test.", "A"): [f"ns.leaf.test. 60 IN A {addresses['other']}"],
        },
        "other": {("www.other.test.", "A"): ["www.other.test. 60 IN A 192.0.2.2"]},
    }
    try:
        for name, host in addresses.items():
            servers[name] = ZoneServer(zones[name], {}, host=host, port=port)
        servers["root"].cuts = {"test.": ["test. 60 IN NS ns.test.", f"ns.test. 60 IN A {addresses['tld']}"]}
        servers["tld"].cuts = {
            "leaf.test.": ["leaf.test. 60 IN NS ns.leaf.test.", f"ns.leaf.test. 60 IN A {addresses['leaf']}"],
            "other.test.": ["other.test. 60 IN NS ns.leaf.test."],  # without an address: it has to be found
            "lost.test.": ["lost.test. 60 IN NS ns.lost.test."],
            "up.test.": ["test. 60 IN NS ns.test."],
        }
        yield servers
    finally:
        for server in servers.values():
            server.close()


def trace(names: Path, hierarchy: dict[str, ZoneServer], text: str, *more: str) -> None:
    names.write_text(text)
    host, port = hierarchy["root"].address
    run(cli, ["resolve", str(names), "--trace", "-s", host, "--port", str(port), "-c", "1", *more])


def test_a_trace_goes_from_the_root_down(
    names: Path, hierarchy: dict[str, ZoneServer], capfd: pytest.CaptureFixture[str]
) -> None:
    trace(names, hierarchy, "www.leaf.test\n")
    (row,) = rows(capfd.readouterr().out)
    assert [answer["data"] for answer in row["answers"]] == ["192.0.2.1"]
    steps = row["queries"][0]["trace"]
    assert [(step["zone"], step["referral"], step["cached"]) for step in steps] == [
        (".", "test.", False),
        ("test.", "leaf.test.", False),
        ("leaf.test.", None, False),
    ]
    assert [step["server"].split(":")[0] for step in steps] == ["127.0.0.60", "127.0.0.61", "127.0.0.62"]
    assert not hierarchy["root"].queries[0].flags & dns.flags.RD


def test_a_trace_follows_aliases_and_finds_servers_without_addresses(
    names: Path, hierarchy: dict[str, ZoneServer], capfd: pytest.CaptureFixture[str]
) -> None:
    trace(names, hierarchy, "alias.leaf.test\n")
    (row,) = rows(capfd.readouterr().out)
    assert [answer["data"] for answer in row["answers"]] == ["www.other.test.", "192.0.2.2"]


def test_zones_are_remembered_within_a_run(
    names: Path, hierarchy: dict[str, ZoneServer], capfd: pytest.CaptureFixture[str]
) -> None:
    trace(names, hierarchy, "www.leaf.test\nno.leaf.test\nwww.other.test\n")
    found = rows(capfd.readouterr().out)
    assert [row["status"] for row in found] == ["NOERROR", "NXDOMAIN", "NOERROR"]
    assert len(hierarchy["root"].asked) == 1
    assert found[1]["queries"][0]["trace"][0]["cached"] is True


def test_the_way_that_many_want_to_know_at_once_is_asked_for_once(
    names: Path, hierarchy: dict[str, ZoneServer], capfd: pytest.CaptureFixture[str]
) -> None:
    text = "".join(f"n{number}.leaf.test\nx.y{number}.other.test\n" for number in range(50))
    trace(names, hierarchy, text, "-c", "100")
    assert [row["status"] for row in rows(capfd.readouterr().out)] == ["NXDOMAIN"] * 100
    assert len(hierarchy["root"].asked) <= 2  # a name of the list, and one of a server
    assert len(hierarchy["tld"].asked) <= 3
    assert len(hierarchy["leaf"].asked) >= 50


@pytest.mark.parametrize(("name", "status"), [("a.lost.test", "LAME"), ("a.up.test", "LAME"), ("nowhere", "NXDOMAIN")])
def test_a_trace_that_leads_nowhere_ends(
    names: Path, hierarchy: dict[str, ZoneServer], capfd: pytest.CaptureFixture[str], name: str, status: str
) -> None:
    trace(names, hierarchy, f"{name}\n")
    (row,) = rows(capfd.readouterr().out)
    assert row["status"] == status


# -- wrong words, Ctrl-C


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["-t", "FOO"], "'FOO' is no type of DNS record"),
        (["-t", ","], "names 0 types"),
        (["--servers", "dns.test"], "name server 'dns.test' is no address"),
        (["--servers", ","], "names no server"),
        (["--rate", "0"], "'--rate'"),
        (["--timeout", "0"], "'--timeout'"),
    ],
)
def test_wrong_words_are_exit_code_2(
    names: Path, more: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(cli, ["resolve", str(names), *more]) == 2
    assert message in capfd.readouterr().err


def test_output_must_not_be_the_input(names: Path, server: DnsServer, capfd: pytest.CaptureFixture[str]) -> None:
    before = names.read_bytes()
    assert run(cli, words(names, server, "-o", str(names))) == 2
    assert names.read_bytes() == before


def test_a_full_disk_is_one_line(names: Path, server: DnsServer, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, words(names, server, "-o", "/dev/full")) == 1
    assert "cannot write to /dev/full: No space left on device" in capfd.readouterr().err


@pytest.mark.slow
def test_ctrl_c_writes_what_is_finished_and_says_how_many_are_not(server: DnsServer, hub: Hub) -> None:
    """Slow: a process of its own starts."""
    host, port = server.address
    command = [sys.executable, "-m", "greenprobe", "resolve", "-", "-s", f"{host}:{port}"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("a.test\nsilent.test\n")
        process.stdin.flush()
        while len(server.asked) < 2:
            hub.sleep(0.01)
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert [row["name"] for row in rows(first + out)] == ["a.test"]
    assert "not finished" in err
    assert "Traceback" not in err
