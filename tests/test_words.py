"""What the commands say of words that are wrong: one line that names them and says what to do, and exit code 2."""

import re
from pathlib import Path

import pytest

from greenprobe.cli import cli, run

DOCS = Path(__file__).parent.parent / "docs"


def said_of(words: str, capfd: pytest.CaptureFixture[str]) -> str:
    """Run the words, which are wrong, and return the line that says so."""
    assert run(cli, words.split()) == 2
    out, err = capfd.readouterr()
    assert out == ""
    line = err.splitlines()[-1]
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("fetch x.test -c many", "Invalid value for '-c' / '--concurrency': 'many' is not a valid whole number."),
        ("fetch x.test --timeout soon", "Invalid value for '--timeout': 'soon' is not a valid number."),
        ("fetch x.test --processes 999", "Invalid value for '--processes': 999 is not in the range 1<=x<=64."),
        ("scan 127.0.0.1 1 --timeout nan", "Invalid value for '--timeout': 'nan' is no finite number."),
        ("scan 127.0.0.1 1 --min-rate inf", "Invalid value for '--min-rate': 'inf' is no finite number."),
        ("crawl http://x.test/ --delay inf", "Invalid value for '--delay': 'inf' is no finite number."),
    ],
)
def test_a_number_that_is_none_is_named(words: str, line: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert said_of(words, capfd) == line


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("127.0.0.1 1-9 --top-ports 9", "'1-9' is no host; --top-ports says which ports"),
        ("127.0.0.1 80 --ports 22", "'80' is no host; --ports says which ports"),
        ("127.0.0.1 --ports 22 --top-ports 9", "--ports and --top-ports both say which ports; give one of them"),
        ("notes.txt 80", "'notes.txt' is a file; to scan the hosts in it, write --hosts notes.txt"),
        ("127.0.0.1 1 --rate 9 --min-rate 10", "--min-rate 10 is more than the rate, 9; raise --rate"),
        ("127.0.0.1 1 --service --probes gone", "Invalid value for '--probes': File 'gone' does not exist."),
    ],
)
def test_words_of_scan_that_cannot_be_meant_are_named(words: str, line: str, capfd: pytest.CaptureFixture[str]) -> None:
    Path("notes.txt").write_text("127.0.0.1\n")
    assert said_of(f"scan {words}", capfd) == line


@pytest.mark.parametrize("command", ["fetch", "resolve"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_is_told_apart_from_a_list_of_rubbish(
    command: str, encoding: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "list.txt"
    path.write_text("\ufefflocalhost\r\n", encoding=encoding)
    assert said_of(f"{command} {path}", capfd) == f"{path} is UTF-16; save it as UTF-8"


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("fetch notes -o x --sqlite x", "--output and --sqlite are the same file, x; {another}"),
        ("fetch notes -o x --state s --summary ./s", "--state and --summary are the same file, s; {another}"),
        ("fetch notes --summary notes", "--summary notes is the input too; name another file"),
        ("fetch notes --sqlite notes", "--sqlite notes is the input too; name another file"),
        ("fetch x.test --since old --summary old", "--summary old is the input too; name another file"),
        ("fetch notes -o notes", "notes is the input too; write the results to another file"),
        ("resolve notes -o notes", "notes is the input too; write the results to another file"),
        ("scan 127.0.0.1 1 -o x --sqlite x", "--output and --sqlite are the same file, x; {another}"),
        ("scan --hosts notes 1 -o x --resume notes", "--resume notes is the input too; name another file"),
    ],
)
def test_a_file_that_another_is_already_is_not_written_over(
    words: str, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("old").write_text('{"url": "http://x.test/", "v": 1, "status": 200}\n')
    assert said_of(words, capfd) == line.replace("{another}", "name another for one of them")
    assert Path("notes").read_text() == "buy milk\n"


@pytest.mark.parametrize("option", ["--summary", "--cookie-jar"])
def test_what_is_written_at_the_end_is_looked_at_before_the_beginning(
    option: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(cli, ["fetch", "http://127.0.0.1:1/", option, "/no/where"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "Error: cannot write to /no/where: No such file or directory\n"


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a folder where there is a file `notes`, which is nothing in particular."""
    (tmp_path / "notes").write_text("buy milk\n")
    monkeypatch.chdir(tmp_path)


NO_CERTIFICATE = "no certificate in it, or no key where it takes one; both must be PEM"
NO_AUTHORITIES = "Invalid value for '--ca-file': 'notes' holds no certificate; it must be PEM."
NO_COOKIES = "has no cookies in it; it must be a cookies.txt, as curl and browsers' extensions write it"


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--header nonsense", "--header 'nonsense' has no colon; write 'NAME: VALUE', or 'NAME:' to send none"),
        ("--user ada", "--user 'ada' has no password; write NAME:PASSWORD, or NAME: for none"),
        ("--bearer a --user b:c", "--bearer and --user both say who asks; give one of them"),
        ("--cookies notes", f"notes {NO_COOKIES}"),
        ("--cookie-jar notes", f"notes {NO_COOKIES}"),
        ("--digest", "--digest says how the password is proved; add --user NAME:PASSWORD"),
        ("--key notes", "--key says where the key of our certificate is; add --cert FILE"),
        ("--url-column link", "--url-column says where the URLs of rows are; add --input-format csv or jsonl"),
        ("--warc-dedup", "--warc-dedup says how the archive is written; add --warc FILE"),
        ("--cert notes", f"--cert notes: {NO_CERTIFICATE}"),
        ("--cert notes --key notes --processes 2", f"--cert notes and notes: {NO_CERTIFICATE}"),
        ("--fields elapsed.sum", "--fields 'elapsed.sum' is unknown; elapsed has dns, connect, tls, first_byte, total"),
    ],
)
def test_words_of_fetch_that_mean_nothing_are_named(words: str, line: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert said_of(f"fetch x.test {words}", capfd) == line


@pytest.mark.parametrize("field", ["stats", "status.code"])
def test_a_field_that_is_unknown_is_named_with_those_that_are(field: str, capfd: pytest.CaptureFixture[str]) -> None:
    cells = re.findall(r"^\| (`.*?) \|", (DOCS / "fetch-records.md").read_text(), re.MULTILINE)
    documented = re.findall(r"`(\w+)`", " ".join(cells))
    line = said_of(f"fetch x.test --fields url,{field}", capfd)
    start = f"--fields {field!r} is unknown; known are "
    assert line.startswith(start)
    assert sorted(line.removeprefix(start).split(", ")) == sorted(documented)


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("fetch x.test --ca-file notes", NO_AUTHORITIES),
        ("crawl x.test --ca-file notes", NO_AUTHORITIES),
        ("resolve x --ca-file notes", NO_AUTHORITIES),
        ("scan 127.0.0.1 1 --dns ns.txt", "Invalid value for '--dns': no such file: 'ns.txt'"),
        ("fetch x.test --dns .", "Invalid value for '--dns': cannot read .: Is a directory"),
        ("resolve x --servers /dev/null", "Invalid value for '--servers': '/dev/null' names no server"),
        ("resolve x --types NO", "Invalid value for '--types': 'NO' is no type of DNS record"),
        ("resolve x --trust-anchors notes", "--trust-anchors says what DNSSEC begins with; add --dnssec"),
        ("scan 127.0.0.1 1 --probes notes", "--probes says how else services are asked; add --service or --banner"),
        ("serve x --tls-key notes", "--tls-key says where the key of our certificate is; add --tls-cert FILE"),
        ("serve x --access-log-file log", "--access-log-file says where a log is written; add --access-log FORMAT"),
    ],
)
def test_files_and_lists_that_are_none_are_named(words: str, line: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert said_of(words, capfd) == line


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('[fetch]\nurl-column = "link"\ndigest = true\nwarc-dedup = true\n', "fetch http://127.0.0.1:1/"),
        ('[resolve]\ntrust-anchors = "notes"\n', "resolve x.test --servers 127.0.0.1:1"),
        ('[scan]\nprobes = "notes"\n', "scan 127.0.0.1 1"),
        ('[serve]\ntls-key = "notes"\naccess-log-file = "log"\n', "serve /no/where"),
    ],
)
def test_what_is_only_a_default_may_be_of_no_use(table: str, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    Path("config.toml").write_text(table)
    run(cli, ["--config", "config.toml", *words.split()])
    assert " add " not in capfd.readouterr().err
