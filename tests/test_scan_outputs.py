"""Forms of results (XML of nmap, grepable lines, SQLite), resuming, shards, and what is not scanned without a word."""

import json
import os
import sqlite3
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fakes import silent_ports
from killing import killed

from greenprobe.cli import cli, run
from greenprobe.commands.scan_formats import GrepableReport, ScanDatabase, XmlReport
from greenprobe.commands.scan_journal import ScanJournal
from greenprobe.commands.scan_plan import public_hosts
from greenprobe.engine.scanplan import ScanRecord, Service
from greenprobe.engine.targets import Targets, parse_hosts

EVIL = 'a<b>&"\x1b[2J,/'


def record(port: int, state: Any, reason: str, *, ip: str = "192.0.2.1", service: Service | None = None) -> ScanRecord:
    return ScanRecord("a.test", ip, port, state, reason, 0.0125, 1, None, service)


RECORDS = [
    record(443, "open", "syn-ack", service=Service("https", EVIL, EVIL, {}, {"version": "TLSv1.3"})),
    record(22, "open", "syn-ack"),
    record(80, "filtered", "no-response"),
    *[record(port, "closed", "reset") for port in range(1000, 1100)],
    record(53, "open", "syn-ack", ip="2001:db8::1"),
]


def test_xml_is_what_nmap_writes() -> None:
    report = XmlReport(arguments=f"greenprobe scan {EVIL}", started=1e9, ports="22,80", count=2)
    report.add(RECORDS)
    root = ElementTree.fromstring("\n".join(report.lines(now=1e9 + 2, version="1")))
    assert root.get("xmloutputversion") == "1.05"
    first, second = root.findall("host")
    address = first.find("address")
    assert address is not None
    assert (address.get("addr"), address.get("addrtype")) == ("192.0.2.1", "ipv4")
    ports = {port.get("portid"): port for port in first.iter("port")}
    assert list(ports) == ["22", "80", "443"]
    reasons = {
        str(port.get("portid")): state.get("reason") for port in first.iter("port") for state in port.iter("state")
    }
    assert reasons == {"22": "syn-ack", "80": "no-response", "443": "syn-ack"}
    service = ports["443"].find("service")
    assert service is not None
    assert (service.get("name"), service.get("tunnel")) == ("http", "ssl")
    extra = first.find("ports/extraports/extrareasons")
    assert extra is not None
    assert (extra.get("count"), extra.get("ports")) == ("100", "1000-1099")
    assert [each.get("addrtype") for each in second.findall("address")] == ["ipv6"]


def test_grepable_lines_have_a_host_each_and_no_byte_of_a_server_splits_them() -> None:
    report = GrepableReport()
    report.add(RECORDS)
    heading, first, second, end = report.lines(now=1e9, version="1")
    assert heading.startswith("#")
    assert end.startswith("#")
    host, ports, ignored = first.split("\t")
    assert host == "Host: 192.0.2.1 (a.test)"
    words = ports.removeprefix("Ports: ").split(", ")
    assert [word.split("/")[:5] for word in words] == [
        ["22", "open", "tcp", "", ""],
        ["80", "filtered", "tcp", "", ""],
        ["443", "open", "tcp", "", "https"],
    ]
    assert all(word.count("/") == 7 for word in words)
    assert ignored == "Ignored State: closed (100)"
    assert "\x1b" not in first + second


def test_the_database_has_columns_and_the_whole_row(tmp_path: Path) -> None:
    path = str(tmp_path / "found.db")
    database = ScanDatabase(path)
    database.add(RECORDS)
    database.close()
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT port, state, service, row FROM ports WHERE port = 443").fetchall()
        (count,) = connection.execute("SELECT count(*) FROM ports").fetchone()
    connection.close()
    assert count == len(RECORDS)
    ((port, state, service, row),) = found
    assert (port, state, service, json.loads(row)["banner"]) == (443, "open", "https", EVIL)


def test_a_database_is_not_written_over(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "found.db")
    words = ["scan", "127.0.0.1", "1-3", "--sqlite", path]
    assert run(cli, words) == 0
    assert run(cli, words) == 1
    assert "has a scan in it already" in capfd.readouterr().err


@pytest.mark.parametrize("format_name", ("xml", "grepable"))
def test_forms_for_other_tools_come_out_of_the_command(format_name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["scan", "127.0.0.1", "1-3", "--format", format_name]) == 0
    assert "127.0.0.1" in capfd.readouterr().out


# -- targets


def test_hosts_and_exclusions_come_from_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hosts").write_text("127.0.0.0/30 # some\n\n127.0.0.9 127.0.0.1\n")
    (tmp_path / "not").write_text("127.0.0.2\n")
    words = [
        "--hosts",
        str(tmp_path / "hosts"),
        "--exclude-hosts",
        str(tmp_path / "not"),
        "-p",
        "1",
        "--format",
        "jsonl",
    ]
    assert run(cli, ["scan", *words]) == 0
    found = sorted(json.loads(line)["ip"] for line in capfd.readouterr().out.splitlines())
    assert found == ["127.0.0.0", "127.0.0.1", "127.0.0.3", "127.0.0.9"]


def test_top_ports_need_no_word_for_ports(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["scan", "127.0.0.1", "--top-ports", "3", "--exclude-ports", "22", "--format", "jsonl"]) == 0
    assert sorted(json.loads(line)["port"] for line in capfd.readouterr().out.splitlines()) == [80, 443]


def test_shards_meet_everything_once(capfd: pytest.CaptureFixture[str]) -> None:
    met: Counter[int] = Counter()
    for part in ("1/3", "2/3", "3/3"):
        assert run(cli, ["scan", "127.0.0.1", "1-100", "--seed", "5", "--shard", part, "--format", "jsonl"]) == 0
        met.update(json.loads(line)["port"] for line in capfd.readouterr().out.splitlines())
    assert met == Counter(range(1, 101))


@pytest.mark.parametrize(
    ("words", "message"),
    (
        (["127.0.0.1", "1", "--shard", "4/3", "--seed", "1"], "--shard '4/3' is no part"),
        (["127.0.0.1", "1", "--shard", "1/3"], "--shard needs --seed"),
        (["--resume", "none.json"], "there is no none.json to go on with"),
        (["127.0.0.1", "1", "--resume", "x", "--format", "csv"], "--resume needs -o FILE"),
        (["127.0.0.1", "1", "--exclude-ports", "1"], "--exclude-ports leaves no port"),
        (["127.0.0.1", "1", "--source", "192.0.2.77"], "cannot send from --source 192.0.2.77"),
        (["127.0.0.1", "1", "--source", "here"], "--source 'here' is no address"),
        (["127.0.0.1", "1", "--source", "::1"], "--source ::1 is of IPv6, as none of the hosts is"),
        (
            ["127.0.0.1", "1", "--probes", __file__],
            "--probes says how else services are asked; add",
        ),
        (["2001:db8::/32", "1"], "more than 2^64 probes"),
        (["http://127.0.0.1:80/x", "1"], "write its host only: 127.0.0.1\n"),
        (["127.0.0.1", "1", "--interface", "none0"], "there is no interface 'none0' here"),
        (["--hosts", "/nowhere/hosts", "1"], "cannot read hosts from /nowhere/hosts: No such file"),
        (["8.0.0.0/8", "1"], "more than 1,024 hosts outside of private networks"),
        ([], "say which HOST"),
    ),
)
def test_wrong_words_end_with_one_line(words: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["scan", *words]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_a_name_without_an_address_among_others_is_left_out_and_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["scan", "127.0.0.1", "a" * 70, "1", "--format", "jsonl"]) == 0
    out, err = capfd.readouterr()
    assert [json.loads(line)["host"] for line in out.splitlines()] == ["127.0.0.1"]
    assert f"host '{'a' * 70}' has no address" in err
    assert run(cli, ["scan", "127.0.0.1", "1", "--exclude", "a" * 70]) == 2  # it would be scanned


def test_only_hosts_of_others_are_counted_for_the_gate() -> None:
    def count(*words: str) -> int:
        return public_hosts(parse_hosts(words, lambda name: []))

    assert count("10.0.0.0/8", "127.0.0.0/8", "192.168.0.0/16", "fd00::/8", "198.18.0.0/15") == 0
    assert count("8.8.8.0/24", "10.0.0.0/8") == 256
    assert count("0.0.0.0/0") > 1024


def test_a_source_address_is_used(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["scan", "127.0.0.1", "1-50", "--source", "127.0.0.5", "--interface", "lo", "--format", "csv"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 51


def test_ping_scans_only_who_answers(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["scan", "127.0.0.0/30", "1-2", "--ping", "--format", "csv"]) == 0
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 9
    assert "4 of 4 hosts answer" in err


# -- going on


def test_a_journal_keeps_the_scan_and_how_far_it_is(tmp_path: Path) -> None:
    path = str(tmp_path / "state")
    hosts = parse_hosts(["10.0.0.0/30", "a.test"], lambda name: ["10.0.0.9"])
    targets = Targets(hosts, range(1, 101), seed=7)
    plan = plan_like(targets)
    journal = ScanJournal.open(path)
    journal.begin(plan, {"words": ["10.0.0.0/30", "1-100"]})
    journal.note(range(0, 300, 2))
    journal.save(1234)
    again = ScanJournal.open(path)
    assert (again.is_new, again.written, again.ledger.count) == (False, 1234, 150)
    assert list(again.targets().walk()) == list(targets.walk())
    assert again.targets().hosts.names == {"10.0.0.9": "a.test"}


def plan_like(targets: Targets) -> Any:
    class Plan:
        pass

    plan = Plan()
    plan.targets = targets  # type: ignore[attr-defined]
    return plan


@pytest.mark.parametrize(
    "text", ("", "{}", "[]", '{"format": "another"}', '{"format": "greenprobe scan 1", "bytes": 1}')
)
def test_a_file_that_is_no_journal_is_named(tmp_path: Path, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "state"
    path.write_text(text)
    assert run(cli, ["scan", "--resume", str(path)]) == 1
    assert f"{path} is no state of a scan" in capfd.readouterr().err


def test_a_device_is_no_journal(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["scan", "127.0.0.1", "1", "--resume", "/dev/zero", "-o", "x", "--format", "jsonl"]) == 1
    assert "/dev/zero is no regular file" in capfd.readouterr().err


def test_what_cannot_begin_says_nothing_of_ports(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["scan", "127.0.0.1", "1", "--sqlite", str(tmp_path / "none" / "x.db")]) == 1
    assert run(cli, ["scan", "127.0.0.1", "1", "--service", "--probes", str(tmp_path / "none.toml")]) == 2
    assert "ports in" not in capfd.readouterr().err


def test_a_finished_scan_leaves_no_journal(tmp_path: Path) -> None:
    state, out = str(tmp_path / "state"), str(tmp_path / "out")
    assert run(cli, ["scan", "127.0.0.1", "1-9", "--format", "jsonl", "-o", out, "--resume", state]) == 0
    assert not os.path.exists(state)
    assert len(Path(out).read_text().splitlines()) == 9


def test_a_scan_goes_on_with_the_ports_it_was_begun_with(tmp_path: Path) -> None:
    """Also where the words that named them would come to nothing by themselves."""
    state, out = str(tmp_path / "state"), tmp_path / "out"
    targets = Targets(parse_hosts(["127.0.0.1"], lambda name: []), range(5, 9), seed=1)
    journal = ScanJournal.open(state)
    options = {"words": ["127.0.0.1", "1-8"], "exclude_ports": "1-4", "output": str(out), "format_name": "jsonl"}
    journal.begin(plan_like(targets), options)
    first = next(targets.walk())
    journal.note([first[0]])
    out.write_text("{}\n and what was cut off")
    journal.save(3)
    assert run(cli, ["scan", "--resume", state]) == 0
    lines = out.read_text().splitlines()
    assert lines[0] == "{}"
    assert sorted(json.loads(line)["port"] for line in lines[1:]) == sorted({5, 6, 7, 8} - {first[2]})


def test_a_scan_that_was_killed_before_its_heading_writes_it(tmp_path: Path) -> None:
    state, out = str(tmp_path / "state"), tmp_path / "out"
    targets = Targets(parse_hosts(["127.0.0.1"], lambda name: []), range(5, 9), seed=1)
    options = {"words": ["127.0.0.1", "5-8"], "output": str(out), "format_name": "csv"}
    ScanJournal.open(state).begin(plan_like(targets), options)
    out.write_text("host,ip")
    assert run(cli, ["scan", "--resume", state]) == 0
    heading, *rows = out.read_text().splitlines()
    assert heading.startswith("host,ip,port,")
    assert len(rows) == 4


@pytest.mark.parametrize("one", RECORDS)
def test_a_record_comes_back_from_its_line(one: ScanRecord) -> None:
    assert ScanRecord.of_row(json.loads(json.dumps(one.row()))) == one


def test_a_report_goes_on_with_the_records_beside_its_state(tmp_path: Path) -> None:
    state, out = str(tmp_path / "state"), tmp_path / "out"
    targets = Targets(parse_hosts(["127.0.0.1"], lambda name: []), range(5, 9), seed=1)
    journal = ScanJournal.open(state)
    options = {"words": ["127.0.0.1", "5-8"], "output": str(out), "format_name": "xml"}
    journal.begin(plan_like(targets), options)
    place, _, port = next(targets.walk())
    journal.note([place])
    kept = json.dumps(replace_port(RECORDS[0], port).row()).encode() + b"\n"
    Path(journal.rows_path).write_bytes(kept + b"what was cut off")
    journal.save(len(kept))
    out.write_text("what an interrupt left")
    assert run(cli, ["scan", "--resume", state]) == 0
    root = ElementTree.fromstring(out.read_text())
    assert root.get("start") == str(int(journal.started))
    found = [(int(one.get("portid", "")), one[0].get("state")) for one in root.iter("port")]
    assert sorted(found) == [(number, "open" if number == port else "closed") for number in range(5, 9)]
    assert list(tmp_path.iterdir()) == [out]


def replace_port(record: ScanRecord, port: int) -> ScanRecord:
    return record._replace(port=port, ip="127.0.0.1", host="127.0.0.1")


def test_a_report_that_finds_no_room_may_be_asked_for_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    words = ["127.0.0.1", "1-5", "--resume", str(state)]
    assert run(cli, ["scan", *words, "-o", "/dev/full"]) == 1
    kept = json.loads(state.read_text())
    state.write_text(json.dumps(kept | {"options": kept["options"] | {"output": "-"}}))
    capfd.readouterr()
    assert run(cli, ["scan", "--resume", str(state)]) == 0
    assert "5/tcp  closed" in capfd.readouterr().out


@pytest.mark.slow
def test_killed_scans_go_on_to_one_whole_report(tmp_path: Path) -> None:
    """Slow: two scans by two processes each that are killed, and a last one that ends."""
    state, out, chance = str(tmp_path / "state"), tmp_path / "out", Random(1)
    command = [sys.executable, "-m", "greenprobe", "scan", "--resume", state]
    with silent_ports(1, "127.3.0.1") as silent:  # no scan ends before it is killed
        new = ["127.3.0.0/29", f"1-1000,{silent[0]}", "--format", "xml", "-o", str(out), "--rate", "4000"]
        new += ["--timeout", "60", "--processes", "2"]
        for words in ([*command, *new], command):
            start = partial(subprocess.Popen, words, stderr=subprocess.DEVNULL)
            killed(start, Path(f"{state}.rows"), 200_000, chance)
    subprocess.run(command, stderr=subprocess.DEVNULL, timeout=60, check=True)
    root = ElementTree.fromstring(out.read_text())
    many = sum(int(one.get("count", "")) for one in root.iter("extraports"))
    assert many + sum(1 for _ in root.iter("port")) == 8 * 1001
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.slow
def test_killed_scans_go_on_with_nothing_lost_or_doubled(tmp_path: Path) -> None:
    """Slow: three scans that are killed, and a last one that ends."""
    state, out, chance = str(tmp_path / "state"), tmp_path / "out", Random(1)
    base = str(tmp_path / "base")
    command = [sys.executable, "-m", "greenprobe", "scan", "--resume", state]
    with silent_ports(1, "127.3.0.1") as silent:  # no scan ends before it is killed
        new = ["127.3.0.0/29", f"1-1000,{silent[0]}", "--format", "jsonl", "-o", str(out), "--rate", "4000"]
        new += ["--timeout", "60", "--sqlite", base]
        for turn in range(3):
            words = [*command, *(new if turn == 0 else [])]
            killed(lambda words=words: subprocess.Popen(words, stderr=subprocess.DEVNULL), out, 200_000, chance)  # type: ignore[misc]
    subprocess.run(command, stderr=subprocess.DEVNULL, timeout=60, check=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert Counter((row["ip"], row["port"]) for row in rows) == Counter(
        (f"127.3.0.{host}", port) for host in range(8) for port in (*range(1, 1001), *silent)
    )
    with closing(sqlite3.connect(base)) as database:
        assert database.execute("SELECT count(*) FROM ports").fetchone() == (8008,)
