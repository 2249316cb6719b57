"""The access log: its formats, what it escapes, and that it never waits for whoever reads it."""

import json
import os
import re
from pathlib import Path

import pytest

from greenprobe.access_log import AccessLog, combined, common, json_line
from greenprobe.greenthread import sleep
from greenprobe.wsgi_connection import Access

ACCESS = Access("127.0.0.1", 1_700_000_000.5, "GET", "/a?b", "HTTP/1.1", "200", 5, "", "curl/8", 0.25)


def test_the_common_format_is_apaches() -> None:
    pattern = r'127\.0\.0\.1 - - \[1[45]/Nov/2023:\d\d:\d\d:20 [+-]\d{4}\] "GET /a\?b HTTP/1\.1" 200 5'
    assert re.fullmatch(pattern, common(ACCESS))
    assert common(ACCESS._replace(body_bytes=0)).endswith(" 200 -")


def test_the_combined_format_adds_the_referer_and_the_agent() -> None:
    assert combined(ACCESS) == common(ACCESS) + ' "-" "curl/8"'


def test_json_has_numbers_and_utc() -> None:
    record = json.loads(json_line(ACCESS))
    assert (record["time"], record["status"], record["seconds"]) == ("2023-11-14T22:13:20.500+00:00", 200, 0.25)


@pytest.mark.parametrize("form", [combined, json_line])
def test_nothing_a_client_sends_can_make_a_line_of_its_own(form: object) -> None:
    evil = ACCESS._replace(user_agent='x" 200 \x1b[2J\n\\ \xe4', target='/"')
    for line in (combined(evil), json_line(evil)):
        assert "\n" not in line
        assert "\x1b" not in line
    assert combined(evil).endswith('"x\\x22 200 \\x1b[2J\\x0a\\x5c \\xe4"')


def test_lines_are_written_together_and_in_order(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        log = AccessLog(file.fileno(), common)
        for number in range(3):
            log(ACCESS._replace(target=f"/{number}"))
        assert (tmp_path / "log").read_bytes() == b""
        log.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert [re.search(r"GET (\S+)", line)[1] for line in lines] == ["/0", "/1", "/2"]  # type: ignore[index]


@pytest.mark.slow
def test_a_reader_that_sleeps_costs_lines_and_no_time() -> None:
    """Slow: what was written is seen when the writer has come round, a quarter of a second later."""
    reader, writer = os.pipe()
    log = AccessLog(writer, common, max_pending=2000)
    try:
        for _ in range(3):
            for _ in range(2000):
                log(ACCESS)
            sleep(0.3)
        assert log.dropped > 0
    finally:
        os.close(reader)
        log.close()
        os.close(writer)


def test_a_full_disk_costs_lines_only() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        log = AccessLog(fd, common)
        log(ACCESS)
        log.close()
        assert log.dropped == 1
    finally:
        os.close(fd)
