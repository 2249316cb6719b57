"""Referrals: only downwards, only on the way, and with no more addresses than a server may tell."""

import pytest

from greenprobe.dns.wire import AUTHORITATIVE, Record, Reply
from greenprobe.engine.referral import Referral, referral_in

CUT = Record("leaf.test.", "NS", 60, "ns.leaf.test.")
GLUE = Record("ns.leaf.test.", "A", 60, "192.0.2.1")


def reply(*authority: Record, additional: tuple[Record, ...] = (GLUE,), flags: int = 0, rcode: int = 0) -> Reply:
    return Reply(rcode, flags, (), authority, additional)


def test_a_zone_cut_below_is_a_referral() -> None:
    expected = Referral("leaf.test.", ("ns.leaf.test.",), {"ns.leaf.test.": ("192.0.2.1",)}, 60)
    assert referral_in(reply(CUT), "www.LEAF.test.", "test.") == expected


@pytest.mark.parametrize(
    ("cut", "name", "zone"),
    [
        ("test.", "www.leaf.test.", "test."),  # to itself
        (".", "www.leaf.test.", "test."),  # upwards
        ("test.", "www.leaf.test.", "leaf.test."),
        ("other.test.", "www.leaf.test.", "test."),  # beside the way
        ("leaf.org.", "www.leaf.test.", "test."),
    ],
)
def test_what_does_not_lead_down_to_the_name_is_no_referral(cut: str, name: str, zone: str) -> None:
    assert referral_in(reply(CUT._replace(name=cut)), name, zone) is None


def test_an_authoritative_or_failed_reply_is_no_referral() -> None:
    assert referral_in(reply(CUT, flags=AUTHORITATIVE), "www.leaf.test.", "test.") is None
    assert referral_in(reply(CUT, rcode=3), "www.leaf.test.", "test.") is None


def test_addresses_of_names_outside_of_the_zone_are_hearsay() -> None:
    cut = CUT._replace(data="ns.bank.org.")
    hearsay = GLUE._replace(name="ns.bank.org.")
    referral = referral_in(reply(cut, additional=(hearsay,)), "www.leaf.test.", "test.")
    assert referral is not None
    assert referral.glue == {}


def test_addresses_of_names_that_are_no_servers_are_left_out() -> None:
    referral = referral_in(reply(CUT, additional=(GLUE, GLUE._replace(name="www.leaf.test."))), "a.leaf.test.", "test.")
    assert referral is not None
    assert list(referral.glue) == ["ns.leaf.test."]
