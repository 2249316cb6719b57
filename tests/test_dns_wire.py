"""DNS messages: the fast reader says what dnspython says, or nothing; queries are what dnspython would write."""

import struct

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import example, given, settings, strategies as st

from greenprobe.dns import library
from greenprobe.dns.asker import plain_result, reply_in
from greenprobe.dns.deferred import make_question, read_reply, to_ascii
from greenprobe.dns.resolution import Ask, Resolution
from greenprobe.dns.servers import Server
from greenprobe.dns.wire import Question, encode_name, make_query, question, read_plain
from greenprobe.errors import DnsFormError

ASKED = question("www.example.test", "A")
HEAD = struct.pack("!HHHHHH", 7, 0x8180, 1, 1, 0, 0)


def message(*lines: str, kind: str = "A", rcode: int = 0, authority: tuple[str, ...] = (), edns: bool = True) -> bytes:
    """Return a reply about www.example.test, as dnspython writes it."""
    query = dns.message.make_query("www.example.test.", kind, use_edns=edns, payload=1232, id=7)
    response = dns.message.make_response(query)
    response.set_rcode(rcode)  # type: ignore[arg-type]
    for section, texts in ((response.answer, lines), (response.authority, authority)):
        for line in texts:
            owner, ttl, _, record, data = line.split(None, 4)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", record, data))
    return response.to_wire()


PLAIN = [
    message("www.example.test. 60 IN A 192.0.2.1"),
    message("www.example.test. 60 IN A 192.0.2.1", "www.example.test. 60 IN A 192.0.2.2", edns=False),
    message("www.example.test. 60 IN AAAA 2001:db8::1"),
    message("www.example.test. 60 IN AAAA ::ffff:192.0.2.1"),
    message("www.example.test. 5 IN CNAME a.b.example.test.", "a.b.example.test. 9 IN A 192.0.2.1"),
    message(rcode=3, authority=("test. 60 IN SOA ns.test. host.test. 1 2 3 4 60",)),
    message(authority=("example.test. 60 IN NS ns1.example.test.", "example.test. 60 IN NS ns2.example.test.")),
    message("www.example.test. 0 IN PTR host.example.test."),
    message(rcode=23),
]
ODD = [
    message("www.example.test. 60 IN MX 10 mail.example.test."),
    message('www.example.test. 60 IN TXT "a b"'),
    message(r"www.example.test. 60 IN CNAME a\.b.example.test."),
]


@pytest.mark.parametrize("wire", PLAIN)
def test_a_plain_reply_is_read_as_dnspython_reads_it(wire: bytes) -> None:
    assert read_plain(wire, ASKED) == library.read_reply(wire)[0]


@pytest.mark.parametrize("wire", ODD)
def test_what_is_not_plain_is_left_to_dnspython(wire: bytes) -> None:
    assert read_plain(wire, ASKED) is None
    assert read_reply(wire, ASKED) == library.read_reply(wire)[0]


def read_both(wire: bytes) -> None:
    """Assert that the fast reader says the same as the library, or nothing."""
    plain = read_plain(wire, ASKED)
    if plain is not None:
        assert plain == library.read_reply(wire)[0]


@settings(max_examples=60, deadline=None)
@given(
    wire=st.sampled_from(PLAIN + ODD),
    changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 12),
    tail=st.binary(max_size=4),
)
def test_a_changed_reply_is_read_as_dnspython_reads_it_or_left_to_it(
    wire: bytes, changes: list[tuple[int, int]], cut: int, tail: bytes
) -> None:
    changed = bytearray(wire)
    for at, value in changes:
        changed[at % len(changed)] = value
    read_both(bytes(changed[: len(changed) - cut]) + tail)


@settings(max_examples=40, deadline=None)
@given(
    wire=st.sampled_from(PLAIN + ODD),
    flags=st.sampled_from([0x8000, 0x8180, 0x8182, 0x8183, 0x8185, 0x8380, 0x8400]),
    changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=2),
    protocol=st.sampled_from(["udp", "tcp"]),
    accepts_referrals=st.booleans(),
)
@example(wire=PLAIN[0], flags=0x8380, changes=[], protocol="udp", accepts_referrals=False)  # truncated
@example(wire=PLAIN[6], flags=0x8000, changes=[], protocol="udp", accepts_referrals=False)  # a referral
@example(wire=PLAIN[0], flags=0x8182, changes=[], protocol="udp", accepts_referrals=False)  # SERVFAIL
def test_a_first_reply_is_taken_as_a_resolution_would_take_it_or_left_to_one(
    wire: bytes, flags: int, changes: list[tuple[int, int]], protocol: str, accepts_referrals: bool
) -> None:
    data = bytearray(wire[:2] + flags.to_bytes(2, "big") + wire[4:])
    for at, value in changes:
        data[at % len(data)] = value
    server = Server("192.0.2.1", protocol=protocol)
    step = Ask(server, protocol, True, 1.0)
    found = plain_result(step, bytes(data), ASKED, accepts_referrals=accepts_referrals)
    if found is not None:
        resolution = Resolution([server], timeout=1.0, attempts=2, accepts_referrals=accepts_referrals)
        resolution.next()
        reply = reply_in(bytes(data), ASKED, protocol)
        assert reply is not None
        assert resolution.replied(reply)
        assert found == resolution.result


PIECES = [b"\x01a", b"\x02ab", b"\xc0\x0c", b"\xc0\x21", b"\xc0\x10", b"\0", b"\x40a", b"\xff"]
names = st.lists(st.sampled_from(PIECES), max_size=4).map(b"".join)
datas = st.one_of(names, st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16), st.binary(max_size=24))
kinds = st.sampled_from([1, 2, 5, 6, 12, 28, 41, 16, 15])
ttls = st.sampled_from([0, 60, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x01000000])


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """Return a resource record, some of them sound."""
    data = draw(datas)
    length = len(data) if draw(st.booleans()) else draw(st.integers(0, 40))
    class_ = draw(st.sampled_from([1, 1, 1, 3, 1232]))
    return draw(names) + struct.pack("!HHIH", draw(kinds), class_, draw(ttls), length) + data


@settings(max_examples=60, deadline=None)
@given(counts=st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2)), body=st.lists(records(), max_size=5))
@example(counts=(1, 0, 0), body=[b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, 2) + b"\xc0\x21"])  # points to itself
@example(counts=(1, 0, 0), body=[b"\xc0\x22" + struct.pack("!HHIH", 1, 1, 60, 4) + b"1234"])  # the owner does
@example(counts=(1, 0, 0), body=[b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, 2) + b"\xc0\x2e"])
@example(counts=(1, 0, 0), body=[b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, 4) + b"\x01a\0" + b"x"])  # more behind it
def test_made_up_records_are_read_as_dnspython_reads_them_or_left_to_it(
    counts: tuple[int, int, int], body: list[bytes]
) -> None:
    read_both(struct.pack("!HHHHHH", 7, 0x8180, 1, *counts) + ASKED.wire + b"".join(body))


@settings(max_examples=60, deadline=None)
@given(wire=st.binary(max_size=80), starts_well=st.booleans())
def test_any_bytes_are_a_reply_or_malformed(wire: bytes, starts_well: bool) -> None:
    try:
        read_reply(HEAD + ASKED.wire + wire if starts_well else wire, ASKED)
    except DnsFormError:
        pass


def whole(wire: bytes) -> tuple[int, list[list[tuple[str, str, int, str]]]]:
    """Return the rcode and the records of a message, read by dnspython alone."""
    found = dns.message.from_wire(wire, one_rr_per_rrset=True, ignore_trailing=True)
    return int(found.rcode()), [
        [(each.name.to_text(), dns.rdatatype.to_text(each.rdtype), each.ttl, each[0].to_text()) for each in section]
        for section in (found.answer, found.authority, found.additional)
    ]


@pytest.mark.parametrize("wire", [*PLAIN, *ODD])
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_message_that_is_walked_through_is_what_dnspython_makes_of_it(wire: bytes, data: st.DataObject) -> None:
    changed = bytearray(wire)
    for at in data.draw(st.lists(st.integers(4, len(wire) - 1), max_size=3)):
        changed[at] = data.draw(st.sampled_from([0, 1, 2, 12, 15, 16, 41, 63, 192, 255, changed[at] ^ 1]))
    try:
        expected = whole(bytes(changed))
    except (dns.exception.DNSException, ValueError, NotImplementedError):
        with pytest.raises(DnsFormError):
            library.read_reply(bytes(changed))
        return
    reply, _ = library.read_reply(bytes(changed))
    assert (reply.rcode, [[tuple(each) for each in section] for section in reply[2:]]) == expected


@pytest.mark.parametrize("kind", ["RP", "MX", "NS"])
def test_a_long_name_that_all_records_have_is_read_once(kind: str) -> None:
    """36 s for 64 KB, and the hub stood still, where it was read, and compared tail by tail, for each of them."""
    asked = make_question("a." * 126, "A")
    data = {"RP": b"\xc0\x0e\xc0\x0e", "MX": b"\0\1\xc0\x0e", "NS": b"\xc0\x0e"}[kind]
    record = b"\xc0\x0e" + struct.pack("!HHIH", dns.rdatatype.from_text(kind), 1, 60, len(data)) + data
    count = 8_000 // len(record)
    reply = read_reply(struct.pack("!HHHHHH", 7, 0x8180, 1, count, 0, 0) + asked.wire + record * count, asked)
    assert len(reply.answer) == count
    assert reply.answer[-1].name == "a." * 125


def chained(pointers: int) -> bytes:
    """Return a reply whose last name leads through so many pointers to the name that was asked for."""
    wire, last, count = bytearray(HEAD + ASKED.wire), 12, 1
    for number in range(pointers - 1):
        if number % 8 == 0:
            wire += b"\xc0\x0c" + struct.pack("!HHIH", 28, 1, 60, 16)
            count += 1
        last, wire = len(wire), wire + struct.pack("!H", 0xC000 | last)
    wire += bytes(-(pointers - 1) % 8 * 2) + struct.pack("!HHHIH", 0xC000 | last, 1, 1, 60, 4) + b"\1\2\3\4"
    wire[6:8] = struct.pack("!H", count)
    return bytes(wire)


def test_pointers_that_lead_to_pointers_are_not_followed_for_long() -> None:
    """Each of many names after a long chain would cost its whole length: seconds for one reply."""
    read = read_plain(chained(16), ASKED)
    assert read is not None
    assert (read.answer[-1].name, read.answer[-1].data) == (ASKED.name, "1.2.3.4")
    assert read_plain(chained(17), ASKED) is None
    with pytest.raises(DnsFormError, match="malformed"):
        read_reply(chained(17), ASKED)


def test_a_reply_about_something_else_is_refused() -> None:
    with pytest.raises(DnsFormError, match="about other"):
        read_reply(dns.message.make_response(dns.message.make_query("other.test.", "A")).to_wire(), ASKED)


LABELS = st.lists(st.text("abcXYZ019_-*", min_size=1, max_size=63), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(LABELS, st.sampled_from(["", "."]))
def test_a_name_is_encoded_as_by_dnspython(labels: list[str], end: str) -> None:
    name = ".".join(labels) + end
    assert encode_name(name) == dns.name.from_text(name).to_wire()


NO_NAMES = ["a..b", ".a", "a..", "..", "a" * 64, ".".join(["a" * 60] * 5), "a." * 5000, "." * 99, r"a\046b", "a b"]


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_is_none_or_needs_care_is_refused_by_the_fast_path(name: str) -> None:
    with pytest.raises(ValueError, match=r"label|longer|care"):
        encode_name(name)


def test_a_name_with_escapes_is_asked_for_all_the_same() -> None:
    assert make_question(r"a\.b.test", "MX") == Question(r"a\.b.test.", "MX", b"\x03a.b\x04test\0\0\x0f\0\x01")


@pytest.mark.parametrize(("name", "kind"), [("a..b", "A"), ("a" * 64, "A"), ("b\u00fccher", "A"), ("a", "NOTHING")])
def test_what_is_no_name_or_no_type_is_a_value_error(name: str, kind: str) -> None:
    with pytest.raises(ValueError, match=r"is no|not ASCII"):
        make_question(name, kind)


@pytest.mark.parametrize(("edns", "dnssec"), [(False, False), (True, False), (True, True)])
def test_a_query_is_what_dnspython_would_send(edns: bool, dnssec: bool) -> None:
    flags = dns.flags.DO if dnssec else 0
    expected = dns.message.make_query("www.example.test.", "A", use_edns=0 if edns else False, ednsflags=flags,
                                      payload=1232, id=7)  # fmt: skip
    assert make_query(7, ASKED.wire, edns=edns, dnssec=dnssec) == expected.to_wire()


def test_international_names_are_those_of_idna_2008() -> None:
    assert to_ascii("fa\u00df.B\u00fccher.test") == "xn--fa-hia.xn--bcher-kva.test"
    with pytest.raises(ValueError, match="IDNA 2008"):
        to_ascii("\u2615.test\u0000")
