"""A program: compare the names family with libc's on a hosts file, a zone and a configuration of its own.

It is run as root in mount and network namespaces of its own (see test_dns_libc.py), lays its files over those in /etc,
serves a zone on 127.0.0.1:53, and prints what differs. Arguments: a folder for the files, and the addresses to have.
"""

import socket as libc
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import (
    AF_INET,
    AF_INET6,
    AI_ADDRCONFIG,
    AI_ALL,
    AI_CANONNAME,
    AI_NUMERICHOST,
    AI_NUMERICSERV,
    AI_PASSIVE,
    AI_V4MAPPED,
    NI_DGRAM,
    NI_NAMEREQD,
    NI_NOFQDN,
    NI_NUMERICHOST,
    NI_NUMERICSERV,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_STREAM,
)
from threading import Event, Thread
from typing import Any

import dns.message
from dns_servers import DnsServer, Trick, dns_server

from greenprobe import green_dns
from greenprobe.hub import get_hub

FILES = {
    "hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost\n192.0.2.9 Filed.test short  # comment\n"
    "192.0.2.10 filed.test\n2001:db8::9 filed.test\n::1 onlysix.test\nbroken line\n192.0.2.11\n",
    "resolv.conf": "# ours\nnameserver 127.0.0.1\nsearch sub.test test\noptions ndots:1 timeout:1 attempts:1\n",
    "nsswitch.conf": "hosts: files dns\nservices: files\n",
    "host.conf": "multi on\n",
}
ADDRESSES = {"both": ["192.0.2.1/24", "2001:db8::1/128"], "ipv4": ["192.0.2.1/24"]}
RECORDS = {
    ("four.test.", "A"): ["four.test. 60 IN A 192.0.2.4"],
    ("six.test.", "AAAA"): ["six.test. 60 IN AAAA 2001:db8::4"],
    ("both.test.", "A"): ["both.test. 60 IN A 192.0.2.5"],
    ("both.test.", "AAAA"): ["both.test. 60 IN AAAA 2001:db8::5"],
    ("mixed.test.", "A"): [f"mixed.test. 60 IN A {each}" for each in ("203.0.113.9", "192.0.2.7", "127.0.0.1")],
    ("mixed.test.", "AAAA"): [f"mixed.test. 60 IN AAAA {each}" for each in ("2001:db8::7", "::1", "2002:c000:201::1")],
    ("alias.test.", "CNAME"): ["alias.test. 60 IN CNAME middle.test.", "middle.test. 60 IN CNAME four.test.",
                               "four.test. 60 IN A 192.0.2.4"],
    ("www.sub.test.", "A"): ["www.sub.test. 60 IN A 192.0.2.6"],
    ("text.test.", "TXT"): ["text.test. 60 IN TXT hello"],
    ("servfail.test.", "A"): [],
    ("xn--bcher-kva.test.", "A"): ["xn--bcher-kva.test. 60 IN A 192.0.2.8"],
    ("4.2.0.192.in-addr.arpa.", "PTR"): ["4.2.0.192.in-addr.arpa. 60 IN PTR four.test."],
    ("5.2.0.192.in-addr.arpa.", "PTR"): ["5.2.0.192.in-addr.arpa. 60 IN PTR both.test.",
                                         "5.2.0.192.in-addr.arpa. 60 IN PTR second.test."],
}  # fmt: skip
NAMES = """four.test FOUR.test four.test. six.test both.test mixed.test alias.test www four text.test nowhere.test
nowhere localhost filed.test Filed.TEST short onlysix.test 192.0.2.4 ::1 127.1 fe80::1%lo * a..test servfail.test"""
HOSTS = [*NAMES.split(), "b\u00fccher.test", None, "", b"four.test"]
PORTS = [None, 0, 80, "80", "http", "domain", "no-such-service", b"http"]
FLAGS = [0, AI_CANONNAME, AI_PASSIVE, AI_NUMERICHOST, AI_NUMERICSERV, AI_ADDRCONFIG, AI_V4MAPPED, AI_V4MAPPED | AI_ALL,
         AI_CANONNAME | AI_ADDRCONFIG]  # fmt: skip


NI_FLAGS = [0, NI_NUMERICHOST, NI_NUMERICSERV, NI_NAMEREQD, NI_DGRAM, NI_NOFQDN, NI_NUMERICHOST | NI_NUMERICSERV]


def servfail(server: DnsServer, query: bytes, response: dns.message.Message, way: str) -> list[bytes]:
    response.set_rcode(2)  # type: ignore[arg-type]
    return [response.to_wire()]


TRICKS: dict[str, Trick] = {"servfail": servfail}


def prepare(folder: Path, network: str) -> None:
    """Bring loopback up, and lay our files over those of /etc."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in ADDRESSES[network]:
        subprocess.run(["ip", "address", "add", address, "dev", "lo"], check=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
        target = Path("/etc", name)
        if target.exists():
            subprocess.run(["mount", "--bind", str(folder / name), str(target)], check=True)


def serve(ready: Event) -> None:
    """Serve the zone in an OS thread: libc blocks ours."""
    with dns_server(RECORDS, TRICKS, host="127.0.0.1", port=53):
        ready.set()
        get_hub().sleep(3600)


def calls() -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield function names and arguments."""
    for host in HOSTS:
        for family in (0, AF_INET, AF_INET6):
            for flags in FLAGS:
                yield "getaddrinfo", (host, 80, family, SOCK_STREAM, 0, flags)
        yield "getaddrinfo", (host, "http", 0, 0, 0, 0)
        if isinstance(host, str):
            yield "gethostbyname", (host,)
            yield "gethostbyname_ex", (host,)
            yield "gethostbyaddr", (host,)
            yield "getfqdn", (host,)
    for port in PORTS:
        for kind in (0, SOCK_STREAM, SOCK_DGRAM, SOCK_RAW):
            yield "getaddrinfo", ("both.test", port, 0, kind, 0, 0)
    yield "getaddrinfo", ("both.test", 80, 0, 0, libc.IPPROTO_UDP, 0)
    yield "getaddrinfo", ("both.test", 80, 99, 0, 0, 0)
    yield "getaddrinfo", ("both.test", 80, 0, 99, 0, 0)
    for address in (("192.0.2.4", 80), ("192.0.2.5", 53), ("192.0.2.99", 80), ("::1", 443, 0, 0), ("192.0.2.9", 1)):
        for flags in NI_FLAGS:
            yield "getnameinfo", (address, flags)
    for text in "192.0.2.4 192.0.2.5 192.0.2.99 ::1 127.0.0.1 192.0.2.10 2001:db8::9 2001:db8::99".split():
        yield "gethostbyaddr", (text,)


def outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Return what a call returns, or the class and code of what it raises."""
    try:
        return function(*arguments)
    except (OSError, UnicodeError, ValueError) as error:
        return type(error).__name__, error.errno if isinstance(error, OSError) else None


def main() -> None:
    prepare(Path(sys.argv[1]), sys.argv[2])
    ready = Event()
    Thread(target=serve, args=(ready,), daemon=True).start()
    ready.wait(5)
    count = 0
    for name, arguments in calls():
        expected = outcome(getattr(libc, name), arguments)
        found = outcome(getattr(green_dns, name), arguments)
        count += 1
        if found != expected:
            sys.stdout.write(f"{name}{arguments}\n  libc: {expected}\n  ours: {found}\n")
    sys.stderr.write(f"{count} calls compared\n")


if __name__ == "__main__":
    main()
