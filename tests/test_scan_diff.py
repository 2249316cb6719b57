"""`greenprobe diff`: what opened, closed, became another; and lines that are no results."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from greenprobe.cli import cli, run
from greenprobe.reporting.page import SCAN_TEMPLATE, page_of
from greenprobe.reporting.scan_changes import changes, is_scan_row, read_ports
from greenprobe.reporting.scan_findings import gather_scan


def row(port: int, state: str = "open", **more: Any) -> dict[str, Any]:
    return {"host": "a.test", "ip": "192.0.2.9", "port": port, "proto": "tcp", "state": state, "reason": "x", **more}


def lines(*rows: Any) -> list[bytes]:
    return [json.dumps(one).encode() + b"\n" for one in rows]


def told(old: list[bytes], new: list[bytes]) -> list[tuple[str, int, str, str]]:
    return [(one.kind, one.port, one.before, one.after) for one in changes(read_ports(old)[0], read_ports(new)[0])]


def certificate(digest: str) -> dict[str, Any]:
    return {"tls": {"certificate": {"sha256": digest * 64, "subject": "CN=a", "not_after": "2027"}}}


def test_ports_that_open_and_close_are_told_with_what_they_were() -> None:
    old = lines(row(22, service="ssh", product="OpenSSH"), row(80, "closed"), row(443))
    new = lines(row(22, "filtered"), row(80), row(443), row(8080, service="http"))
    assert told(old, new) == [
        ("closed", 22, "ssh OpenSSH", "filtered (x)"),
        ("opened", 80, "closed (x)", "open"),
        ("opened", 8080, "not seen", "http"),
    ]


def test_services_and_certificates_that_are_others_now_are_told() -> None:
    old = lines(row(22, service="ssh", info={"fingerprint": "SHA256:a"}), row(443, service="https", **certificate("a")))
    new = lines(row(22, service="ssh", info={"fingerprint": "SHA256:b"}), row(443, service="https", **certificate("b")))
    assert told(old, new) == [
        ("service", 22, "SHA256:a", "SHA256:b"),
        ("certificate", 443, "CN=a until 2027 (aaaaaaaaaaaaaaaa)", "CN=a until 2027 (bbbbbbbbbbbbbbbb)"),
    ]
    assert told(lines(row(80, service="http", product="a")), lines(row(80, service="http", product="b")))


def test_nothing_changes_where_only_one_scan_asked_for_services() -> None:
    assert told(lines(row(22)), lines(row(22, service="ssh", **certificate("a")))) == []


def test_changes_come_in_numeric_order() -> None:
    new = lines(*[row(port, ip=ip) for ip in ("192.0.2.10", "192.0.2.9", "::1") for port in (80, 9)])
    found = [(one.ip, one.port) for one in changes(({}, {}), read_ports(new)[0])]
    assert found == [(ip, port) for ip in ("192.0.2.9", "192.0.2.10", "::1") for port in (9, 80)]


VALUES = st.one_of(st.none(), st.integers(0, 9), st.text(max_size=5), st.just("open"), st.just({"certificate": None}))
ROWS = st.dictionaries(st.sampled_from(["ip", "port", "state", "proto", "service", "tls", "info"]), VALUES)


@settings(max_examples=50)
@given(st.lists(st.one_of(st.binary(max_size=30), ROWS.map(lambda value: json.dumps(value).encode())), max_size=5))
def test_any_lines_can_be_read(some: list[bytes]) -> None:
    ports, broken = read_ports(some)
    assert broken <= len(some)
    assert list(changes(ports, ports)) == []
    gather_scan(some).row()


def test_the_command_says_by_its_exit_code_whether_anything_changed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    old, new, rubbish = tmp_path / "old", tmp_path / "new", tmp_path / "rubbish"
    old.write_bytes(b"".join(lines(row(22))))
    new.write_bytes(b"".join(lines(row(22), row(80, service="http", product="\x1b[2J"))) + b"cut of")
    rubbish.write_bytes(b"nothing\n")
    assert run(cli, ["diff", str(old), str(old)]) == 0
    assert run(cli, ["diff", str(old), str(new)]) == 1
    out, err = capfd.readouterr()
    assert out == "+ 192.0.2.9 (a.test) 80/tcp opened: not seen -> http \\x1b[2J\n"
    assert "1 line is no result of scan" in err
    assert run(cli, ["diff", str(old), str(new), "--format", "jsonl"]) == 1
    assert json.loads(capfd.readouterr().out)["kind"] == "opened"
    assert run(cli, ["diff", str(old), str(rubbish)]) == 2
    assert "has no results of scan in it" in capfd.readouterr().err


def test_a_row_of_fetch_is_none_of_scan() -> None:
    assert not is_scan_row({"url": "http://a/", "status": 200})
    assert is_scan_row(row(1))


# -- the report of a scan

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"


def test_a_report_gathers_hosts_ports_services_and_certificates() -> None:
    rows = lines(
        row(22, service="ssh", info={"software": "x"}), row(443, service="https", **certificate("a")), row(80, "closed")
    )
    found = gather_scan([*rows, b"rubbish"]).row()
    assert (found["records"], found["open"], found["broken_lines"]) == (3, 2, 1)
    assert found["columns"] == ["22", "443"]
    assert found["hosts"] == [["192.0.2.9", "a.test"]]
    assert found["cells"] == [[0, 0, "ssh"], [0, 1, "https"]]
    assert found["certificates"][0][:3] == ["192.0.2.9 443", "2027", "CN=a"]
    assert found["services"] == [("ssh", 1), ("https", 1)]


def test_report_knows_a_scan_from_a_fetch(tmp_path: Path) -> None:
    results, page = tmp_path / "scan.jsonl", tmp_path / "page.html"
    results.write_bytes(b"".join(lines(row(22, service="ssh", product=EVIL))))
    assert run(cli, ["report", str(results), "-o", str(page)]) == 0
    html = page.read_text()
    assert "<title>greenprobe scan report</title>" in html
    assert EVIL not in html


@pytest.mark.slow
def test_a_browser_draws_the_report_and_runs_nothing_from_outside(tmp_path: Path) -> None:
    """Slow: starts a browser."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium here")
    page = tmp_path / "page.html"
    rows = lines(row(22, service="ssh", product=EVIL, banner=EVIL, host=EVIL), row(443, **certificate("a")))
    page.write_bytes(page_of(gather_scan(rows).row(), source=EVIL, template=SCAN_TEMPLATE))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run([browser, *options, page.as_uri()], capture_output=True, text=True, timeout=60, check=False)
    assert "<title>greenprobe scan report</title>" in done.stdout
    assert done.stdout.count('class="known"') == 1
    assert "192.0.2.9" in done.stdout
    assert "<img" not in done.stdout


def test_one_of_the_scans_may_come_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old").write_bytes(b"".join(lines(row(22))))
    (tmp_path / "new").write_bytes(b"".join(lines(row(22), row(80))))
    with open(tmp_path / "new") as new:
        monkeypatch.setattr("sys.stdin", new)
        assert run(cli, ["diff", str(tmp_path / "old"), "-"]) == 1
    assert capfd.readouterr().out == "+ 192.0.2.9 (a.test) 80/tcp opened: not seen -> open\n"
    assert run(cli, ["diff", "-", "-"]) == 2
    assert "OLD and NEW cannot both be standard input" in capfd.readouterr().err
