"""`greenprobe fetch` as somebody types it: words in, lines and an exit code out."""

import csv
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from fakes import ok, web_server

from greenprobe.cli import cli, run

PAGES = {
    "/": ok(b"hello", "Content-Type: text/html", "X-Formula: =1"),
    "/moved": ok(b"", "Location: /", status="301 Moved"),
    "/gone": ok(b"no", status="404 Not Found"),
    "/empty": b"",
}


@pytest.fixture
def port() -> Iterator[int]:
    """A port of 127.0.0.1 where PAGES are served."""
    with web_server(PAGES.__getitem__) as port:
        yield port


@pytest.fixture
def urls(tmp_path: Path, port: int) -> Path:
    """A list with a line of each kind."""
    path = tmp_path / "urls.txt"
    site = f"http://127.0.0.1:{port}"
    path.write_text(f"{site}/\nno url\n\n{site}/moved\n{site}/gone\n")
    return path


def rows(text: str) -> dict[int, dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    return {row["line"]: row for row in found}


def test_every_line_becomes_a_json_line(urls: Path, port: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["fetch", str(urls)]) == 1
    out, err = capfd.readouterr()
    found = rows(out)
    assert sorted(found) == [1, 2, 4, 5]
    assert {line: row["status"] for line, row in found.items()} == {1: 200, 2: None, 4: 200, 5: 404}
    assert (found[1]["bytes"], found[1]["content_type"]) == (5, "text/html")
    assert found[1]["headers"]["x-formula"] == ["=1"]
    message = "'no url' has a space or control character in it; write %20 for it"
    assert found[2]["error"] == {"class": "UrlError", "message": message}
    assert found[4]["final_url"] == f"http://127.0.0.1:{port}/"
    assert found[4]["redirects"] == [{"status": 301, "url": f"http://127.0.0.1:{port}/moved"}]
    assert list(found[1]["elapsed"]) == ["dns", "connect", "tls", "first_byte", "total"]
    assert err.startswith("4 URLs in ")
    assert err.endswith(": 2 2xx, 1 4xx, 1 failed, 12 bytes\n")


def test_all_answered_is_exit_code_0(port: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "urls").write_text(f"http://127.0.0.1:{port}/gone\n")
    assert run(cli, ["fetch", str(tmp_path / "urls")]) == 0


def test_an_empty_list_is_no_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "urls").write_text("\n")
    assert run(cli, ["fetch", str(tmp_path / "urls")]) == 0
    assert capfd.readouterr().out == ""


def test_csv_has_a_heading_and_no_formulas(urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    urls.write_text("=cmd|calc\n")
    run(cli, ["fetch", str(urls), "--format", "csv"])
    (row,) = csv.DictReader(capfd.readouterr().out.splitlines())
    assert (row["line"], row["url"], row["error"]) == ("1", "'=cmd|calc", "UrlError")


def test_text_is_for_reading(urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    urls.write_text("http://h/\x1b[2J\n")
    run(cli, ["fetch", str(urls), "--format", "text"])
    out = capfd.readouterr().out
    assert out.startswith("status        bytes   seconds  url")
    assert "\x1b" not in out


def test_results_go_to_a_file(urls: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(cli, ["fetch", str(urls), "-o", str(tmp_path / "out")])
    assert capfd.readouterr().out == ""
    assert sorted(rows((tmp_path / "out").read_text())) == [1, 2, 4, 5]


def test_failures_have_a_class_and_a_message(port: int, urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    urls.write_text(f"http://127.0.0.1:{port}/empty\nhttp://127.0.0.1:{port}/moved\n")
    run(cli, ["fetch", str(urls), "--max-redirects", "0"])
    found = rows(capfd.readouterr().out)
    assert {line: row["error"]["class"] for line, row in found.items()} == {1: "EmptyReply", 2: "RedirectError"}


def test_a_name_is_looked_up(port: int, urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    urls.write_text(f"http://localhost:{port}/\n")
    assert run(cli, ["fetch", str(urls)]) == 0
    (row,) = rows(capfd.readouterr().out).values()
    assert row["elapsed"]["dns"] >= 0


def test_tls_is_verified_unless_told_otherwise(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with web_server(PAGES.__getitem__, context=context) as port:
        (tmp_path / "urls").write_text(f"https://127.0.0.1:{port}/\n")
        codes = [
            run(cli, ["fetch", str(tmp_path / "urls"), *words])
            for words in ([], ["--insecure"], ["--ca-file", str(tmp_path / "ca.pem")])
        ]
    assert codes == [1, 0, 0]
    first, *others = map(json.loads, capfd.readouterr().out.splitlines())
    assert first["error"]["class"] == "TlsError"
    assert all(row["elapsed"]["tls"] > 0 for row in others)


@pytest.mark.parametrize(
    ("words", "message"),
    (
        (["none.txt"], "does not exist"),
        (["."], "is a directory"),
        (["URLS", "--concurrency", "0"], "0 is not in the range"),
        (["URLS", "--timeout", "0"], "0.0 is not in the range"),
        (["URLS", "--format", "xml"], "'xml' is not one of"),
        (["URLS", "--ca-file", "none.pem"], "does not exist"),
        ([], "Missing argument 'URLS'"),
    ),
)
def test_wrong_words_are_exit_code_2(
    words: list[str], message: str, urls: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(cli, ["fetch", *(str(urls) if word == "URLS" else word for word in words)]) == 2
    assert message in capfd.readouterr().err


def test_output_must_not_be_the_input(urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = urls.read_text()
    assert run(cli, ["fetch", str(urls), "-o", str(urls)]) == 1
    assert capfd.readouterr().err == f"Error: {urls} is the input too; write the results to another file\n"
    assert urls.read_text() == before


def test_a_ca_file_without_certificates_is_one_line(urls: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["fetch", str(urls), "--ca-file", str(urls)]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"Error: {urls} holds no certificate that can be read: ")
    assert err.count("\n") == 1


# -- as a process


def process(*words: str, **options: Any) -> "subprocess.Popen[str]":
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-m", "greenprobe", "fetch", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
        **options,
    )


@pytest.mark.slow
def test_ctrl_c_writes_what_is_finished_and_says_how_many_are_not(port: int) -> None:
    """Slow: starts an interpreter."""
    with process("-", "-c", "3", stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(f"http://127.0.0.1:{port}/\n" * 5)
        running.stdin.flush()
        lines = [running.stdout.readline() for _ in range(5)]  # a live pipe sees its lines soon
        running.send_signal(signal.SIGINT)
        code = running.wait(timeout=20)  # with its standard input still open
        out, err = running.communicate()
    assert [json.loads(line)["status"] for line in [*lines, *out.splitlines()]] == [200] * 5
    assert "5 URLs in " in err
    assert "the list was not read to its end" in err
    assert "Traceback" not in err
    assert code == 130


@pytest.mark.slow
def test_ctrl_c_counts_the_rest_of_a_file(tmp_path: Path) -> None:
    """Slow: starts an interpreter."""
    with web_server(lambda path: ok(b"x" * 10)[:-5]) as silent:
        (tmp_path / "urls").write_text(f"http://127.0.0.1:{silent}/\n" * 100)
        with process(str(tmp_path / "urls"), "-c", "2") as running:
            assert running.stderr is not None
            wait_for_connections(running.pid, 2)
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=20)
    assert "100 URLs are not finished" in err
    assert running.returncode == 130


def wait_for_connections(pid: int, count: int) -> None:
    """Wait until a process has so many sockets: its state, not a time, says that it is under way."""
    while True:
        links = []
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except OSError:
                pass  # closed meanwhile
        if sum(link.startswith("socket:") for link in links) >= count:
            return


@pytest.mark.slow
def test_a_reader_that_leaves_ends_the_run_with_one_line(port: int, tmp_path: Path) -> None:
    """Slow: starts an interpreter."""
    (tmp_path / "urls").write_text(f"http://127.0.0.1:{port}/\n" * 20_000)
    with process(str(tmp_path / "urls")) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        err = running.stderr.read()
        code = running.wait(timeout=20)
    assert err.splitlines()[-1] == "Error: cannot write to standard output: Broken pipe"
    assert "Traceback" not in err
    assert code == 1
