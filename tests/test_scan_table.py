"""The table of a scan: what is listed, what is counted, in which order."""

from greenprobe.commands.scan_table import MAX_HOSTS, ScanTable
from greenprobe.engine.scanplan import ScanRecord
from greenprobe.engine.verdicts import State


def record(ip: str, port: int, state: State = "open", *, host: str = "", rtt: float | None = 0.00125) -> ScanRecord:
    reason = {"open": "syn-ack", "closed": "reset", "filtered": "no-response", "unreported": "einval"}[state]
    return ScanRecord(host or ip, ip, port, state, reason, rtt, 1)


def table_of(*records: ScanRecord, hosts: int = 1, show_all: bool = False) -> list[str]:
    table = ScanTable(hosts=hosts, show_all=show_all)
    for one in records:
        table.add([one])
    return list(table.lines())


def test_open_ports_are_listed_by_number_and_others_counted() -> None:
    records = [record("127.0.0.1", port, host="localhost") for port in (8080, 22)]
    records += [record("127.0.0.1", port, "closed") for port in range(1000, 2234)]
    records += [record("127.0.0.1", 9, "filtered", rtt=None)]
    assert table_of(*records) == [
        "127.0.0.1 (localhost)",
        "  PORT      STATE  REASON   RTT",
        "  22/tcp    open   syn-ack  1.250 ms",
        "  8080/tcp  open   syn-ack  1.250 ms",
        "  not shown: 1,234 closed (reset), 1 filtered (no-response)",
    ]


def test_every_port_is_listed_when_all_are_to_be_shown() -> None:
    assert table_of(record("::1", 9, "filtered", rtt=None), record("::1", 7, "closed"), show_all=True) == [
        "::1",
        "  PORT   STATE     REASON       RTT",
        "  7/tcp  closed    reset        1.250 ms",
        "  9/tcp  filtered  no-response  -",
    ]


def test_hosts_stand_in_numeric_order_and_those_without_open_ports_in_one_line() -> None:
    lines = table_of(
        record("127.0.0.10", 22),
        record("127.0.0.9", 22),
        record("::1", 22),
        record("127.0.0.3", 22, "closed"),
        record("127.0.0.4", 22, "closed"),
        hosts=5,
    )
    assert [line for line in lines if line and line[0] != " "] == [
        "127.0.0.9",
        "127.0.0.10",
        "::1",
        "2 hosts have no open port: 2 closed (reset)",
    ]


def test_a_lone_host_without_open_ports_is_named() -> None:
    assert table_of(record("127.0.0.3", 22, "closed")) == ["127.0.0.3 has no open port: 1 closed (reset)"]


def test_scopes_and_blank_lines() -> None:
    lines = table_of(record("fe80::2%lo", 1), record("fe80::1%lo", 1), hosts=2)
    assert [line for line in lines if not line.startswith(" ")] == ["fe80::1%lo", "", "fe80::2%lo"]


def test_many_hosts_are_counted_together() -> None:
    lines = table_of(
        record("127.0.0.1", 22),
        record("127.0.0.1", 23, "closed"),
        record("127.0.0.2", 23, "closed"),
        hosts=MAX_HOSTS + 1,
    )
    assert lines[-1] == "not shown: 2 closed (reset)"


def test_nothing_found_is_no_line() -> None:
    assert table_of() == []
