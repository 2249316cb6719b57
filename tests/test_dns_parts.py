"""What the resolver is made of, without a socket: files, servers, their order, the window, the order of addresses."""

from pathlib import Path
from socket import AF_INET, AF_INET6, AF_UNSPEC

import pytest

from greenprobe.dns.conf import ResolvConf, candidates, parse_resolv_conf
from greenprobe.dns.flow import Window
from greenprobe.dns.hosts import parse_hosts
from greenprobe.dns.interfaces import Interface, family_out, interfaces, parse_dump
from greenprobe.dns.ordering import Ordering, Policy, parse_gai_conf
from greenprobe.dns.servers import Book, Server, parse_server, parse_servers
from greenprobe.dns.watched import Watched
from greenprobe.errors import TargetError

DEFAULT = Policy()
HERE = (Interface(AF_INET, "192.0.2.250", 24, 0), Interface(AF_INET6, "2001:db8:ffff::1", 64, 0))


# -- resolv.conf


def test_a_resolv_conf_is_read_in_full() -> None:
    text = """
# comment
nameserver 192.0.2.1 ; another comment
nameserver fe80::1%lo
nameserver nonsense
search a.test b.test.
domain c.test
search D.test e.test
options ndots:3 timeout:2 attempts:4 rotate edns0 use-vc trust-ad no-aaaa single-request no-tld-query
options ndots:nonsense unknown timeout:99
"""
    assert parse_resolv_conf(text, {}) == ResolvConf(
        servers=(Server("192.0.2.1"), Server("fe80::1%lo")),
        search=("d.test", "e.test"),
        ndots=3,
        timeout=30,
        attempts=4,
        rotate=True,
        edns0=True,
        use_tcp=True,
        trust_ad=True,
        no_aaaa=True,
        one_by_one=True,
        no_tld_query=True,
    )


def test_an_empty_resolv_conf_asks_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenprobe.dns.conf.gethostname", lambda: "me.here.test")
    assert parse_resolv_conf("", {}) == ResolvConf(servers=(Server("127.0.0.1"),), search=("here.test",))


def test_the_environment_overrides_the_file() -> None:
    environ = {"LOCALDOMAIN": "b.test", "RES_OPTIONS": "ndots:5 rotate"}
    conf = parse_resolv_conf("search a.test\noptions ndots:2", environ)
    assert (conf.search, conf.ndots, conf.rotate) == (("b.test",), 5, True)


def test_a_short_name_is_not_asked_for_as_it_is_with_no_tld_query() -> None:
    conf = ResolvConf(search=("a.test",), no_tld_query=True)
    assert candidates("www", conf) == ["www.a.test."]
    assert candidates("www.b", conf) == ["www.b.", "www.b.a.test."]


# -- hosts


def test_hosts_are_found_by_name_and_by_address() -> None:
    hosts = parse_hosts("127.0.0.7 Seven.test seven # six\n0:0::7 seven.test\nnonsense eight\n127.0.0.8\n")
    assert [entry.address for entry in hosts.find("SEVEN.test.")] == ["127.0.0.7", "::7"]
    assert hosts.find("eight") == []
    line = hosts.name_of("::7")
    assert line is not None
    assert line.canonical == "seven.test"


def test_localhost_is_known_whatever_the_file_says_unless_it_says() -> None:
    assert [entry.address for entry in parse_hosts("").find("a.localhost")] == ["::1", "127.0.0.1"]
    assert [entry.address for entry in parse_hosts("127.0.0.9 localhost").find("localhost")] == ["127.0.0.9"]
    assert [entry.address for entry in parse_hosts("::1 six").find("six", AF_INET)] == ["127.0.0.1"]
    assert [entry.address for entry in parse_hosts("::ffff:1.2.3.4 six").find("six", AF_INET)] == ["1.2.3.4"]


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path: Path) -> None:
    read: list[str] = []
    watched = Watched(str(tmp_path / "file"), read.append)
    for text in ("one", None, "two!", None):
        if text is not None:
            (tmp_path / "file").write_text(text)
        watched.current()
    (tmp_path / "file").unlink()
    watched.current()
    assert read == ["one", "two!", ""]


# -- servers


@pytest.mark.parametrize(
    ("text", "server", "shown"),
    [
        ("192.0.2.1", Server("192.0.2.1"), "192.0.2.1"),
        ("192.0.2.1:5353", Server("192.0.2.1", 5353), "192.0.2.1:5353"),
        ("2001:db8::1", Server("2001:db8::1"), "[2001:db8::1]"),
        ("[2001:db8::1]:54", Server("2001:db8::1", 54), "[2001:db8::1]:54"),
        ("udp://192.0.2.1", Server("192.0.2.1"), "192.0.2.1"),
        ("tcp://192.0.2.1", Server("192.0.2.1", 53, "tcp"), "tcp://192.0.2.1"),
        ("tls://dns.test", Server("dns.test", 853, "tls"), "tls://dns.test"),
        ("tls://192.0.2.1#dns.test", Server("192.0.2.1", 853, "tls", "dns.test"), "tls://192.0.2.1#dns.test"),
        ("https://dns.test", Server("dns.test", 443, "https", "", "/dns-query"), "https://dns.test/dns-query"),
        ("https://dns.test:444/q", Server("dns.test", 444, "https", "", "/q"), "https://dns.test:444/q"),
    ],
)
def test_servers_are_written_and_shown(text: str, server: Server, shown: str) -> None:
    assert parse_server(text) == server
    assert str(server) == shown
    assert parse_server(shown) == server


@pytest.mark.parametrize("text", ["", "dns.test", "192.0.2.1:", "192.0.2.1:x", "192.0.2.1:70000", "ftp://192.0.2.1",
                                  "192.0.2.1/path", "tls://", "udp://dns.test"])  # fmt: skip
def test_what_is_no_server_is_named(text: str) -> None:
    with pytest.raises(TargetError, match="name server"):
        parse_server(text)


def test_a_list_of_servers_has_comments_and_no_doubles() -> None:
    text = "# ours\n192.0.2.1, 192.0.2.2\nnameserver 192.0.2.1\n"
    assert parse_servers([text], port=54) == [Server("192.0.2.1", 54), Server("192.0.2.2", 54)]


def test_a_server_that_failed_is_asked_last_for_a_while_longer_each_time() -> None:
    one, two = Server("192.0.2.1"), Server("192.0.2.2")
    book = Book()
    book.failed(one, 100)
    assert list(book.order([one, two], 101)) == [two, one]
    assert list(book.order([one, two], 131)) == [one, two]
    book.failed(one, 131)
    assert list(book.order([one, two], 170)) == [two, one]
    book.answered(one)
    assert list(book.order([one, two], 170)) == [one, two]


# -- the window


def test_the_window_opens_only_while_it_is_what_holds_us_up() -> None:
    near, far = Window(), Window()
    for _ in range(1000):
        near.answered(0.0001)
        far.answered(0.1)
    assert near.size == 100
    assert 500 < far.size <= 2000


def test_the_window_closes_once_for_all_that_was_lost_together() -> None:
    window = Window()
    for _ in range(50):
        window.lost()
    assert window.size == 75
    for _ in range(10_000):
        window.lost()
    assert window.size == 8


# -- the order of addresses


def order(
    *addresses: str, sources: dict[str, str], policy: Policy = DEFAULT, here: tuple[Interface, ...] = ()
) -> list[str]:
    return Ordering(policy, [*HERE, *here], sources.get).sort(addresses)


def test_a_family_of_which_this_machine_has_no_address_comes_last_unasked() -> None:
    asked: list[str] = []
    only_ipv4 = [Interface(AF_INET, "192.0.2.2", 24, 0), Interface(AF_INET6, "::1", 128, 0)]
    found = Ordering(DEFAULT, only_ipv4, lambda each: asked.append(each)).sort(["2001:db8::1", "192.0.2.1"])
    assert asked == ["192.0.2.1"]
    assert found == ["2001:db8::1", "192.0.2.1"]  # neither can be reached: by precedence
    found = Ordering(DEFAULT, only_ipv4, lambda each: "192.0.2.2").sort(["2001:db8::1", "192.0.2.1"])
    assert found == ["192.0.2.1", "2001:db8::1"]


def test_addresses_are_ordered_as_the_examples_of_rfc_6724_have_it() -> None:
    """Section 10.2, those examples that differ in one rule each."""
    assert order("2001:db8:1::1", "198.51.100.121",
                 sources={"2001:db8:1::1": "2001:db8:1::2", "198.51.100.121": "169.254.13.78"}
                 ) == ["2001:db8:1::1", "198.51.100.121"]  # prefer matching scope  # fmt: skip
    assert order("2001:db8:1::1", "198.51.100.121",
                 sources={"2001:db8:1::1": "fe80::1", "198.51.100.121": "198.51.100.117"}
                 ) == ["198.51.100.121", "2001:db8:1::1"]  # fmt: skip
    assert order("10.1.2.3", "2001:db8:1::1", sources={"2001:db8:1::1": "2001:db8:1::2", "10.1.2.3": "10.1.2.4"}
                 ) == ["2001:db8:1::1", "10.1.2.3"]  # prefer higher precedence  # fmt: skip
    assert order("2001:db8:1::1", "fe80::1", sources={"2001:db8:1::1": "2001:db8:1::2", "fe80::1": "fe80::2"}
                 ) == ["fe80::1", "2001:db8:1::1"]  # prefer smaller scope  # fmt: skip
    assert order("2001:db8:3ffe::1", "2001:db8:1::1",
                 sources={"2001:db8:1::1": "2001:db8:1::2", "2001:db8:3ffe::1": "2001:db8:3f44::2"}
                 ) == ["2001:db8:1::1", "2001:db8:3ffe::1"]  # longest matching prefix  # fmt: skip


def test_the_kernel_is_asked_for_the_way_to_a_network_once_and_to_our_own_addresses_each() -> None:
    asked: list[str] = []

    def find_source(address: str) -> str:
        asked.append(address)
        return address if address == "192.0.2.9" else "192.0.2.2"

    here = [Interface(AF_INET, "192.0.2.2", 24, 0), Interface(AF_INET, "192.0.2.9", 24, 0)]
    ordering = Ordering(DEFAULT, here, find_source)
    found = ordering.sort(["192.0.2.200", "192.0.2.3", "192.0.2.9", "198.51.100.1", "198.51.100.2"])
    assert asked == ["192.0.2.200", "192.0.2.9", "198.51.100.1"]
    assert found == ["192.0.2.9", "192.0.2.3", "192.0.2.200", "198.51.100.1", "198.51.100.2"]  # by what is in common


def test_addresses_without_a_route_come_last() -> None:
    assert order("::1", "127.0.0.1", sources={"127.0.0.1": "127.0.0.1"}) == ["127.0.0.1", "::1"]


def test_a_deprecated_source_is_avoided() -> None:
    here = (Interface(AF_INET6, "2001:db8:1::2", 64, 0x20),)
    sources = {"2001:db8:1::1": "2001:db8:1::2", "2001:db8:2::1": "2001:db8:2::2"}
    assert order("2001:db8:1::1", "2001:db8:2::1", sources=sources, here=here)[0] == "2001:db8:2::1"


def test_gai_conf_may_prefer_ipv4() -> None:
    policy = parse_gai_conf("# ours\nprecedence ::ffff:0:0/96 100\nprecedence nonsense 3\nlabel ::/0\n")
    sources = {"2001:db8:1::1": "2001:db8:1::2", "192.0.2.1": "192.0.2.2"}
    assert order("2001:db8:1::1", "192.0.2.1", sources=sources, policy=policy) == ["192.0.2.1", "2001:db8:1::1"]


def test_the_kernel_tells_the_addresses_of_interfaces() -> None:
    assert Interface(AF_INET, "127.0.0.1", 8, 0x80) in interfaces()


@pytest.mark.parametrize(
    ("addresses", "family"),
    [
        ("", AF_UNSPEC),
        ("127.0.0.1 ::1", AF_INET),
        ("127.0.0.1 ::1 192.0.2.2 fe80::1", AF_INET),
        ("127.0.0.1 ::1 192.0.2.2 fe80::1 fd00::2", AF_UNSPEC),
        ("127.0.0.1 ::1 fe80::1 2001:db8::2", AF_INET6),
    ],
)
def test_a_family_leads_out_where_an_interface_has_more_than_a_local_address(addresses: str, family: int) -> None:
    here = [Interface(AF_INET6 if ":" in each else AF_INET, each, 64, 0) for each in addresses.split()]
    assert family_out(here) == family


@pytest.mark.parametrize("data", [b"", b"\0" * 16, b"\x14\0\0\0\x14\0" + b"\0" * 30, b"\xff" * 40])
def test_a_dump_that_is_none_has_no_addresses(data: bytes) -> None:
    assert list(parse_dump(data)) == []
