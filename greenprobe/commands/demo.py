"""`greenprobe demo`: fetch, scan and crawl an embedded site, to see what greenprobe does without any network."""

from contextlib import closing
from itertools import chain

import click

from greenprobe.commands.counted import counted
from greenprobe.commands.demosite import LOOPBACK, PAGES, DemoSite
from greenprobe.commands.given import opened
from greenprobe.commands.output import Column, Output, encoder
from greenprobe.commands.scan_table import ScanTable
from greenprobe.crawling import crawl
from greenprobe.engine.examined import door_of, examined
from greenprobe.engine.fetcher import Fetcher
from greenprobe.engine.fetchplan import FetchPlan
from greenprobe.engine.ports import parse_ports
from greenprobe.engine.probes.registry import Registry
from greenprobe.engine.scanner import Scanner
from greenprobe.engine.scanplan import ScanPlan
from greenprobe.engine.services import Examiner
from greenprobe.engine.targets import Targets, parse_hosts
from greenprobe.engine.urllist import UrlList
from greenprobe.http.client import Client, ClientOptions
from greenprobe.http.connections import Address
from greenprobe.http.trust import trusting
from greenprobe.hub import get_hub

__all__ = ["demo"]

COLUMNS = [
    Column("status", "status", -6),
    Column("bytes", "bytes", -7),
    Column("seconds", "elapsed.total", -9),
    Column("url", "url", 34),
    Column("error", "error.message"),
]
CRAWL_COLUMNS = [
    Column("status", "status", -6),
    Column("depth", "depth", -5),
    Column("links", "links", -5),
    Column("url", "url", 34),
    Column("title", "title", 14),
    Column("skipped", "skipped"),
]
SHOWN_PAGES = 5  # of the many that are alike
AROUND = 20  # ports scanned on each side of an open one: enough to see what is closed, and few to bother others


@click.command(short_help="Fetch, scan and crawl a small site on loopback: a first look.")
def demo() -> None:
    """Start a small site on loopback; fetch, scan and crawl it, and show the results. Needs no network.

    \b
      greenprobe demo
    """
    with Output("-") as out, DemoSite() as site:
        click.echo("A site and two more ports are up on 127.0.0.1. First what `greenprobe fetch` says of its pages:\n")
        _fetch(site, out)
        click.echo("\nThen what `greenprobe scan --service` says of its ports:\n")
        _scan(site, out)
        click.echo("\nAnd what `greenprobe crawl` finds, beginning at the front page:\n")
        _crawl(site, out)
    click.echo("\nNext: greenprobe fetch URL, greenprobe scan HOST PORTS, greenprobe crawl URL, and --help of each.")


def _fetch(site: DemoSite, out: Output) -> None:
    heading, encode = encoder("text", COLUMNS)
    out.write(heading)
    client = Client(ClientOptions(), resolve=_no_names, trust=lambda: trusting(None, verify=True))
    with opened(tuple(site.urls()), "-") as fd, closing(client):
        fetcher = Fetcher(get_hub(), FetchPlan(concurrency=8), UrlList(get_hub(), fd), client)
        for record in chain.from_iterable(fetcher.run()):
            if record.line <= SHOWN_PAGES or "/page/" not in record.url:
                out.write(encode(record.row()))
    out.flush()
    end = fetcher.statistics()
    urls = counted(end.done, "URL")
    click.echo(f"{urls} in {end.seconds:.2f} s, {end.failed} failed: one line is no URL, on purpose.")


def _scan(site: DemoSite, out: Output) -> None:
    spans = ",".join(f"{max(1, port - AROUND)}-{min(65535, port + AROUND)}" for port in site.ports)
    hosts = parse_hosts([LOOPBACK], lambda name: [name])
    scanner = Scanner(ScanPlan(targets=Targets(hosts, parse_ports(spans), seed=1)))
    examiner = Examiner(Registry())
    table = ScanTable(hosts=1, show_all=False)
    for batch in examined(scanner.batches(), examiner.examine, door_of, concurrency=8):
        table.add(batch)
    out.write("".join(f"{line}\n" for line in table.lines()).encode())
    out.flush()
    end = scanner.statistics()
    click.echo(f"{counted(end.done, 'port')}, {end.open:,} open.")


def _crawl(site: DemoSite, out: Output) -> None:
    heading, encode = encoder("text", CRAWL_COLUMNS)
    out.write(heading)
    pages = 0
    for record in crawl(site.base, concurrency=8):
        pages += 1
        if record.skipped or "/page/" not in record.url:
            out.write(encode(record.row()))
    out.flush()
    click.echo(f"{counted(pages, 'address', 'addresses')}, each once; the {PAGES} plain pages are not shown.")


def _no_names(host: str, port: int, deadline: float) -> list[Address]:
    return [Address(2, (host, port))]  # AF_INET: the site has a number
