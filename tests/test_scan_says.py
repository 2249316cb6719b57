"""What a scan says on standard error."""

from dataclasses import replace
from errno import EACCES, EADDRNOTAVAIL, EPERM
from socket import AF_INET, AF_INET6

import pytest

from greenprobe.commands.scan_says import INTERVAL, no_echoes, summarize, troubles_told
from greenprobe.engine.scanner import Scanner
from greenprobe.engine.scanplan import ScanPlan, ScanStatistics
from greenprobe.engine.targets import Targets, parse_hosts
from greenprobe.hub import get_hub
from greenprobe.testing import JumpClock


def nothing_yet() -> ScanStatistics:
    targets = Targets(parse_hosts(["127.0.0.1"], lambda name: []), (1,), seed=1)
    return Scanner(ScanPlan(targets=targets)).statistics()


def test_a_trouble_is_told_once_and_soon_after_it_began(clock: JumpClock, capsys: pytest.CaptureFixture[str]) -> None:
    now = nothing_yet()
    hub = get_hub()
    with troubles_told(lambda: now):
        hub.sleep(3 * INTERVAL)
        assert capsys.readouterr().err == ""
        now = replace(now, held=1, shortages={"EMFILE": 3})
        hub.sleep(1.5 * INTERVAL)
        said = capsys.readouterr().err.splitlines()
        now = replace(now, held=2, shortages={"EMFILE": 5})
        hub.sleep(3 * INTERVAL)
        assert capsys.readouterr().err == ""
    now = replace(now, shortages={"ENOBUFS": 1})
    hub.sleep(3 * INTERVAL)
    assert capsys.readouterr().err == ""
    assert len(said) == 2
    assert "EMFILE" in said[0]
    assert "a host fell silent" in said[1]


def test_the_end_says_what_is_missing_and_what_ran_out(capsys: pytest.CaptureFixture[str]) -> None:
    end = replace(nothing_yet(), total=10, done=8, open=1, closed=7, held=2, lost=1, shortages={"EMFILE": 1})
    summarize(replace(end, elapsed=2.0))
    found, missing, silent, short = capsys.readouterr().err.splitlines()
    assert found == "8 ports in 2.00 s (4 a second): 1 open, 7 closed"
    assert missing == "2 of 10 ports are not finished"
    assert silent.startswith("2 hosts fell silent")
    assert silent.endswith("; 1 never answered again")
    assert short == "this machine ran short (EMFILE 1 time), so the scan went slower"


@pytest.mark.parametrize("code", (EACCES, EPERM))
def test_who_may_send_no_echo_requests_is_told_what_would_permit_it(code: int) -> None:
    (said,) = no_echoes({AF_INET: PermissionError(code, "not you"), AF_INET6: PermissionError(code, "not you")})
    assert "IPv4 and IPv6" in said
    assert "ping_group_range" in said
    assert "CAP_NET_RAW" in said


def test_any_other_reason_against_echo_requests_is_told_as_it_is() -> None:
    (said,) = no_echoes({AF_INET: OSError(EADDRNOTAVAIL, "Cannot assign requested address")})
    assert said == "echo requests over IPv4 are not possible: Cannot assign requested address; TCP alone was asked"
