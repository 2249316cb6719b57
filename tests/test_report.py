"""The report: what it counts, and that nothing from outside can be more than text in it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from browser import opened

from greenprobe.cli import cli, run
from greenprobe.reporting.findings import gather
from greenprobe.reporting.page import page_of

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>\u2028&amp;"


def row_of(**fields: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "v": 1,
        "url": "http://h/",
        "final_url": "http://h/",
        "status": 200,
        "bytes": 10,
        "content_type": "text/html; charset=x",
        "elapsed": {"total": 0.5, "first_byte": 0.02},
        "ended": 1000.5,
        "error": None,
    }
    return row | fields


def lines_of(*rows: dict[str, Any]) -> list[bytes]:
    return [json.dumps(row).encode() + b"\n" for row in rows]


FAILED = row_of(
    status=None, error={"class": "TlsError", "message": EVIL}, url="http://other:81/" + EVIL, final_url=None
)


def test_findings_count_everything_once() -> None:
    certificate = {"expires": 2000.0, "subject": "CN=h", "issuer": "CN=i"}
    rows = lines_of(
        row_of(), row_of(status=404, ended=1001.2, tls={"version": "TLSv1.3", "certificate": certificate}), FAILED
    )
    found = gather([*rows, b"rubbish\n", b"[]\n", b"\n"]).row()
    assert (found["records"], found["failed"], found["broken_lines"], found["bytes"]) == (3, 1, 2, 30)
    assert found["statuses"] == [("200", 1), ("404", 1)]
    assert found["errors"][0][:2] == ["TlsError", 1]
    assert found["timeline"] == [[1000.0, 1.0, 1.0], [1001.0, 1.0, 0.0]]
    assert [host[:3] for host in found["hosts"]] == [["h", 2, 0], ["other:81", 1, 1]]
    assert found["certificates"] == [["h", 2000.0, "CN=h", "CN=i", "TLSv1.3"]]
    assert sum(count for _, count in found["latencies"]) == 2


def test_hosts_that_are_told_apart_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenprobe.reporting.findings.MAX_KNOWN_HOSTS", 4)
    found = gather(line for n in range(9) for line in lines_of(row_of(final_url=f"http://h{n}/"))).row()
    assert [host[:2] for host in found["hosts"]] == [["(others)", 5], *([f"h{n}", 1] for n in range(4))]


def test_of_many_hosts_those_are_shown_that_somebody_would_look_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenprobe.reporting.findings.MAX_HOSTS", 3)
    urls = [f"http://h{n}/" for n in range(20)]
    rows = [row_of(final_url=url) for url in [*urls, urls[9], urls[9]]]
    rows += [row_of(final_url=urls[12], elapsed={"total": 9.0}), FAILED]
    found = gather(lines_of(*rows)).row()
    assert found["host_count"] == 21
    assert [host[:3] for host in found["hosts"]] == [
        ["h9", 3, 0],
        ["h12", 2, 0],
        ["other:81", 1, 1],
        ["(others)", 18, 0],
    ]
    assert found["hosts"][-1][3:] == [0.5, 0.5, 180, "200:18"]


def test_of_many_certificates_those_are_shown_that_expire_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenprobe.reporting.findings.MAX_CERTIFICATES", 2)
    rows = [row_of(final_url=f"https://h{n}/", tls={"certificate": {"expires": 100.0 - n}}) for n in range(9)]
    found = gather(lines_of(*rows)).row()
    assert [cells[:2] for cells in found["certificates"]] == [["h8", 92.0], ["h7", 93.0]]


@pytest.mark.parametrize(
    "row",
    (
        {"url": 5},
        {"url": None, "error": "x", "elapsed": [], "tls": 7, "status": []},
        {"url": "http://[", "bytes": "x", "ended": "y", "tls": {"certificate": {"expires": "z"}}},
    ),
)
def test_rows_that_are_not_as_they_should_be_do_no_harm(row: dict[str, Any]) -> None:
    assert gather(lines_of(row)).records == 1


def test_nothing_from_outside_can_end_the_script_element() -> None:
    page = page_of(gather(lines_of(FAILED)).row(), source=EVIL).decode()
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert not set("<>&\u2028\u2029") & set(data[1])
    assert json.loads(data[1])["source"] == EVIL
    assert "innerHTML" not in page
    assert "http" not in page.replace(data[1], "").replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_the_command_writes_a_page(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").write_bytes(b"".join(lines_of(row_of(), FAILED)))
    assert run(cli, ["report", str(tmp_path / "in"), "-o", str(tmp_path / "out.html")]) == 0
    assert (tmp_path / "out.html").read_text().startswith("<!doctype html>")
    (tmp_path / "empty").write_text("no results\n")
    assert run(cli, ["report", str(tmp_path / "empty")]) == 1
    assert "has no results of fetch, scan or crawl in it" in capfd.readouterr().err


ROWS = 'document.querySelectorAll("#hosts tbody tr")'
FIRST = f"[...{ROWS}].map(line => line.cells[0].textContent)"

REFUSED_BY_POLICY = """new Promise(done => {
  document.addEventListener("securitypolicyviolation", event => done(event.blockedURI));
  fetch("http://127.0.0.1:1/").finally(() => setTimeout(done, 1000, "no policy forbids it"));
})"""


@pytest.mark.slow
def test_a_browser_shows_the_page_and_runs_nothing_from_outside(tmp_path: Path) -> None:
    """Slow: a browser."""
    page = tmp_path / "page.html"
    page.write_bytes(page_of(gather(lines_of(row_of(), FAILED)).row(), source=EVIL))
    with opened(page) as shown:
        assert shown.evaluate("document.title") == "greenprobe report"
        assert shown.evaluate("document.getElementById('source').textContent") == EVIL
        assert EVIL in shown.evaluate("document.querySelector('.example').textContent")
        assert shown.evaluate("document.querySelectorAll('img, script:not([id])').length") == 1
        assert shown.evaluate("document.querySelectorAll('rect').length") >= 2
        assert shown.evaluate(REFUSED_BY_POLICY) == "http://127.0.0.1:1/"


@pytest.mark.slow
def test_the_table_of_hosts_sorts_and_filters(tmp_path: Path) -> None:
    """Slow: a browser."""
    page = tmp_path / "page.html"
    rows = [row_of(final_url=f"http://{host}/") for host in ("b", "c", "c", "a", "c", "a")]
    page.write_bytes(page_of(gather(lines_of(*rows, FAILED)).row(), source="s"))
    heads = 'document.querySelectorAll("#hosts thead button")'
    with opened(page) as shown:
        assert shown.evaluate(FIRST) == ["c", "a", "b", "other:81"]  # by requests
        shown.evaluate(f"{heads}[0].click()")
        assert shown.evaluate(FIRST) == ["a", "b", "c", "other:81"]
        shown.evaluate(f"{heads}[0].click()")
        assert shown.evaluate(FIRST) == ["other:81", "c", "b", "a"]
        assert shown.evaluate('document.querySelector("#hosts th").getAttribute("aria-sort")') == "descending"
        shown.evaluate(f"{heads}[2].click()")
        assert shown.evaluate(FIRST)[0] == "other:81"  # by failures
        shown.evaluate(
            'const box = document.getElementById("filter"); box.value = "OTHER"; box.dispatchEvent(new Event("input"))'
        )
        assert shown.evaluate(FIRST) == ["other:81"]
        shown.evaluate('box.value = "<img"; box.dispatchEvent(new Event("input"))')
        assert shown.evaluate(FIRST) == []
        shown.evaluate('box.value = ""; box.dispatchEvent(new Event("input"))')
        assert len(shown.evaluate(FIRST)) == 4
