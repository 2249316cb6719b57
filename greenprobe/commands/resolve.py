"""`greenprobe resolve`: what names of a list stand for."""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from operator import attrgetter
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

import click

from greenprobe.commands.companions import check_companions
from greenprobe.commands.counted import counted
from greenprobe.commands.given import list_path, opened
from greenprobe.commands.name_servers import SERVERS, over_https, read_servers
from greenprobe.commands.options import (
    READABLE,
    FiniteRange,
    Progress,
    WholeRange,
    concurrency_option,
    format_option,
    output_option,
    progress_option,
    timeout_option,
)
from greenprobe.commands.output import Column, Output, encoder
from greenprobe.commands.trust_options import ca_file_option, insecure_option
from greenprobe.commands.zone_format import zone_lines
from greenprobe.dns.asker import Asker
from greenprobe.dns.conf import parse_resolv_conf
from greenprobe.dns.deferred import make_question
from greenprobe.dns.servers import Server, parse_servers
from greenprobe.dns.watched import read_text
from greenprobe.engine.namelist import NameList
from greenprobe.engine.pacing import Pace
from greenprobe.engine.referral import ROOT_SERVERS
from greenprobe.engine.resolveplan import ResolvePlan, ResolveRecord, ResolveStatistics, Said
from greenprobe.engine.resolving import Resolving, asking
from greenprobe.engine.tracing import Tracer
from greenprobe.engine.urllist import UrlList
from greenprobe.engine.wildcards import Wildcards
from greenprobe.http.trust import trusting
from greenprobe.hub import Hub, get_hub
from greenprobe.lazy import Lazy

if TYPE_CHECKING:
    from greenprobe.dns.dnssec import AskSigned, Validator

__all__ = ["resolve"]

CSV_COLUMNS = [Column(name, name) for name in (
    "line", "name", "status", "answers", "ttl", "server", "protocol", "tries", "elapsed", "wildcard", "error"
)]  # fmt: skip
TEXT_COLUMNS = [Column("name", "name", 32), Column("status", "status", 11), Column("answers", "answers")]
MAX_TYPES = 20

dnssec = Lazy("greenprobe.dns.dnssec")


@click.command(short_help="Look names up in the DNS, a long list or one.")
@click.argument("names", metavar="NAMES", nargs=-1, required=True)
@click.option(
    "-t",
    "--types",
    metavar="TYPES",
    default="A",
    show_default=True,
    help="The types of records to ask for, between commas: A,AAAA,MX,TXT,NS,CNAME,SOA,SRV,CAA,HTTPS,TYPE65280...",
)
@click.option(
    "-s",
    "--servers",
    metavar="SERVERS",
    help=f"Whom to ask: {SERVERS}  [default: those of /etc/resolv.conf; the root with --trace]",
)
@click.option(
    "--port", metavar="N", type=WholeRange(1, 65535), default=53, show_default=True,
    help="The port of servers that name none, and of those that --trace meets.",
)  # fmt: skip
@concurrency_option(default=1000)
@click.option("--rate", metavar="N", type=FiniteRange(0, min_open=True), help="Queries a second, at most.")
@timeout_option(default=2.0, what="a server must answer; each round over the servers waits twice as long")
@click.option(
    "--retries",
    metavar="N",
    type=WholeRange(0, 50),
    default=3,
    show_default=True,
    help="How often a name is asked for again, at the next server, when one is silent or of no use.",
)
@click.option("--tcp", is_flag=True, help="Ask over TCP.")
@click.option("--mixed-case", is_flag=True, help='Ask in mixed case and believe only replies that keep it ("0x20").')
@ca_file_option()
@insecure_option()
@click.option("--dnssec", is_flag=True, help="Check every answer by DNSSEC; what is forged is an error (BOGUS).")
@click.option(
    "--trust-anchors",
    metavar="FILE",
    type=READABLE,
    help="DS records of the root, one a line, for --dnssec.  [default: those that IANA publishes]",
)
@click.option("--trace", is_flag=True, help="Ask from the root down, with --dnssec too; write which servers led where.")
@click.option("--wildcards", is_flag=True, help="Say of each name whether all names next to it have the same answer.")
@format_option("jsonl", "csv", "text", "zone", default="jsonl")
@output_option()
@progress_option()
@click.pass_obj
def resolve(
    progress: Progress,
    /,
    names: tuple[str, ...],
    ca_file: str | None,
    insecure: bool,
    trust_anchors: str | None,
    format_name: str,
    output: str,
    progress_mode: str,
    **options: Any,
) -> int:
    """Ask name servers for every name of a list and write one result each, as it comes.

    NAMES is a file with a name a line, or - for standard input, or names themselves. An address, or a block as
    192.0.2.0/24, is asked for its names (PTR). Names are full: no search list, no hosts file.

    \b
      greenprobe resolve example.org -t A,AAAA --format text
      greenprobe resolve names.txt
      greenprobe resolve names.txt -t A,AAAA,MX --format zone -o found.zone
      echo 127.0.0.1 | greenprobe resolve - --servers 127.0.0.1:5353 --timeout 1

    A name that nobody could answer for becomes a result with an error; the run goes on. Exit code: 0 if every name was
    answered, also with "there is none" (NXDOMAIN), 1 if not.
    """
    check_companions()
    path = list_path(names)
    plan = _plan(**options)
    hub = get_hub()
    asker = _asker(hub, plan.rate_per_s, partial(trusting, ca_file, verify=not insecure, alpn=()))
    with (
        opened(names, path) as fd,
        closing(UrlList(hub, fd)) as lines,
        Output(output, inputs=[path]) as out,
        closing(asker),
    ):
        resolving = _resolving(hub, plan, asker, lines, trust_anchors)
        try:
            with progress(lambda: _reading(resolving.statistics()), progress_mode):
                _write_records(resolving, out, format_name)
        finally:
            out.flush()
            _summarize(resolving.statistics(), lines)
    return 1 if resolving.statistics().unanswered else 0


def _plan(
    *, types: str, servers: str | None, port: int, concurrency: int, rate: float | None, timeout: float, retries: int,
    tcp: bool, mixed_case: bool, dnssec: bool, trace: bool, wildcards: bool,
) -> ResolvePlan:  # fmt: skip
    return ResolvePlan(
        servers=tuple(_servers(servers, port, trace)),
        types=_types(types),
        concurrency=concurrency,
        timeout=timeout,
        retries=retries,
        rate_per_s=rate,
        uses_tcp=tcp,
        mixes_case=mixed_case,
        dnssec=dnssec,
        finds_wildcards=wildcards,
        traces=trace,
        port=port,
    )


def _asker(hub: Hub, rate_per_s: float | None, trust: Callable[[], SSLContext]) -> Asker:
    return Asker(
        hub,
        pace=Pace(hub, rate_per_s).wait if rate_per_s else None,
        exchanges={"https": over_https(trust)},
        trust=trust,
    )


def _types(text: str) -> tuple[str, ...]:
    """Return the types that were named. Raises click.BadParameter."""
    types = tuple(dict.fromkeys(word.strip().upper() for word in text.split(",") if word.strip()))
    if not 0 < len(types) <= MAX_TYPES:
        raise click.BadParameter(f"{text!r} names {len(types)} types; give 1 to {MAX_TYPES}", param_hint="'--types'")
    for kind in types:
        try:
            make_question("a", kind)
        except ValueError as exc:
            raise click.BadParameter(str(exc), param_hint="'--types'") from exc
    return types


def _servers(given: str | None, port: int, trace: bool) -> list[Server]:
    """Return whom to ask: of a file or a list, of resolv.conf, or the root. Raises click.BadParameter."""
    if given is None:
        if trace:
            return parse_servers(ROOT_SERVERS, port)
        return [each._replace(port=port) for each in parse_resolv_conf(read_text("/etc/resolv.conf")).servers]
    return read_servers(given, port, option="--servers")


def _anchors(path: str | None) -> list[str]:
    """Return the lines of a file of trust anchors."""
    if path is None:
        return list(dnssec.ROOT_ANCHORS)
    return [line for line in read_text(path).splitlines() if line.strip() and not line.lstrip().startswith(";")]


def _validator(anchors: list[str], ask: "AskSigned") -> "Validator":
    """Return what judges answers. Raises TargetError, click.BadParameter."""
    try:
        validator: Validator = dnssec.Validator(ask, anchors=anchors)
        return validator
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="'--trust-anchors'") from exc


def _resolving(hub: Hub, plan: ResolvePlan, asker: Asker, lines: UrlList, anchors: str | None) -> Resolving:
    validator_of = partial(_validator, _anchors(anchors)) if plan.dnssec else None
    ask_one = Tracer(hub, plan, asker, validator_of) if plan.traces else asking(hub, plan, asker, validator_of)
    counts = asker.counts
    return Resolving(
        hub,
        plan,
        NameList(lines),
        ask_one,
        counts=lambda: (counts.queries, counts.timeouts),
        crowd=asker.crowd,
        is_wildcard=Wildcards(ask_one).is_wildcard if plan.finds_wildcards else None,
    )


def _write_records(resolving: Resolving, out: Output, format_name: str) -> None:
    heading, encode = _encoder(format_name)
    if heading:
        out.write(heading)
    with closing(resolving.run()) as batches:
        for batch in batches:
            out.write(b"".join([encode(record) for record in batch]))


def _encoder(format_name: str) -> tuple[bytes, Callable[[ResolveRecord], bytes]]:
    """Return the first bytes of a file in this format, and what encodes a record."""
    if format_name == "zone":
        return b"", zone_lines
    heading, encode = encoder(format_name, CSV_COLUMNS if format_name == "csv" else TEXT_COLUMNS)
    if format_name == "jsonl":
        return heading, lambda record: encode(record.row())
    return heading, lambda record: encode(_flat(record))


def _flat(record: ResolveRecord) -> dict[str, Any]:
    """Return a record with one value for each column."""
    answers = [answer for said in record.said for answer in said.answers]
    first = record.said[0] if record.said else Said("", "", (), None, None, 0, 0.0, None)
    return {
        "line": record.line,
        "name": record.name,
        "status": record.status,
        "answers": "; ".join([f"{answer.type} {answer.data}" for answer in answers]) or None,
        "ttl": min([answer.ttl for answer in answers], default=None),
        "server": first.server,
        "protocol": first.protocol,
        "tries": sum(map(attrgetter("tries"), record.said)),
        "elapsed": round(sum(map(attrgetter("elapsed"), record.said)), 6),
        "wildcard": record.is_wildcard,
        "error": record.reason,
    }


def _reading(now: ResolveStatistics) -> tuple[float | None, str]:
    rate = now.done / now.seconds if now.seconds else 0.0
    under_way = now.taken - now.done
    text = f"{counted(now.done, 'name')}, {now.unanswered:,} unanswered, {under_way:,} under way, {rate:,.0f} a second"
    return (now.read_bytes / now.size_bytes if now.size_bytes else None), text


def _summarize(end: ResolveStatistics, lines: UrlList) -> None:
    """Say on standard error what came of the list, and what is missing."""
    by_count = sorted(end.by_status.items(), key=lambda pair: (-pair[1], pair[0]))
    found = ", ".join(f"{count:,} {status}" for status, count in by_count) or "no answers"
    rate = end.done / end.seconds if end.seconds else 0.0
    click.echo(
        f"{counted(end.done, 'name')} in {end.seconds:.2f} s ({rate:,.0f} a second): {found}; "
        f"{counted(end.queries, 'query', 'queries')}, {end.timeouts:,} timed out",
        err=True,
    )
    rest = lines.count_rest()
    missing = end.taken - end.done + (rest or 0)
    if rest is None:
        unfinished = counted(missing, "name is", "names are")
        click.echo(f"{unfinished} not finished, and the list was not read to its end", err=True)
    elif missing:
        click.echo(f"{counted(missing, 'line is', 'lines are')} not finished", err=True)
