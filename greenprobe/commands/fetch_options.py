"""The options of `greenprobe fetch`, in groups: each group is one decorator, in the order in which help shows them."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from greenprobe.commands.options import (
    MAX_PROCESSES,
    READABLE,
    Decorator,
    FiniteRange,
    WholeRange,
    concurrency_option,
    format_option,
    output_option,
    progress_option,
    timeout_option,
)
from greenprobe.commands.request_body import data_option
from greenprobe.commands.route_options import route_options
from greenprobe.commands.trust_options import ca_file_option, insecure_option
from greenprobe.commands.warc import needs_warcio
from greenprobe.http.trust import TLS_VERSIONS

__all__ = ["FETCH_SECTIONS", "fetch_options"]

SECONDS: Final = FiniteRange(0, min_open=True)


class Lines(click.types.StringParamType):
    """Text; in a variable of the environment several stand on lines of their own."""

    envvar_list_splitter = "\n"


LINES: Final = Lines()
COUNT: Final = WholeRange(0)
FILE: Final = click.Path(dir_okay=False)

INPUT: Final = [
    click.option(
        "--input-format",
        type=click.Choice(["lines", "jsonl", "csv"]),
        default="lines",
        show_default=True,
        help="A URL a line, or rows with a column of URLs, the other columns of which come along as `input`.",
    ),
    click.option("--url-column", metavar="NAME", default="url", show_default=True, help="The column of URLs, in rows."),
    click.option(
        "--scheme",
        type=click.Choice(["http", "https", "auto"]),
        default="http",
        show_default=True,
        help="For hosts without a scheme; auto is https, and http where that is not spoken.",
    ),
    click.option("--unique", is_flag=True, help="Fetch a URL once, however often it is in the list."),
]
REQUEST: Final[list[Decorator]] = [
    click.option("-X", "--method", metavar="NAME", help="The request's method.  [default: GET, or POST with --data]"),
    click.option(
        "-H",
        "--header",
        "headers",
        metavar="'NAME: VALUE'",
        multiple=True,
        type=LINES,
        help="Send this header too. May be repeated.",
    ),
    data_option,
    click.option("--user-agent", metavar="TEXT", default="greenprobe", show_default=True, help="Who we say we are."),
    click.option(
        "--user", metavar="NAME:PASSWORD", help="Authorize to the hosts of the list, and not where they redirect."
    ),
    click.option("--digest", is_flag=True, help="Prove the password of --user instead of sending it."),
    click.option("--bearer", metavar="TOKEN", help="Authorize with a token."),
    click.option("--netrc", is_flag=True, help="Take names and passwords from ~/.netrc."),
    click.option("--netrc-file", metavar="FILE", type=READABLE, help="Take names and passwords from FILE."),
    click.option("--keep-cookies", is_flag=True, help="Keep cookies and send them back."),
    click.option("--cookies", metavar="FILE", type=READABLE, help="Keep cookies: begin with those of a cookies.txt."),
    click.option(
        "--cookie-jar", metavar="FILE", type=FILE, help="Keep cookies: begin with those of FILE, write it at the end."
    ),
    click.option(
        "--since", metavar="FILE", type=READABLE, help="Ask only for what has changed since these results (JSON lines)."
    ),
    click.option("--max-redirects", metavar="N", type=COUNT, default=10, show_default=True, help="Follow at most N."),
    click.option("--allow-downgrade", is_flag=True, help="Follow redirects from https to http."),
]
LIMITS: Final[list[Decorator]] = [
    concurrency_option(default=100),
    click.option(
        "--per-host",
        metavar="N",
        type=WholeRange(1),
        help="How many run at once against one scheme, host and port, at most.  [default: as --concurrency]",
    ),
    timeout_option(default=60.0, what="a URL must be done, redirects and all, or it fails"),
    click.option(
        "--connect-timeout",
        metavar="SECONDS",
        type=SECONDS,
        default=10.0,
        show_default=True,
        help="Seconds in which a connection must stand: name, TCP and TLS together.",
    ),
    click.option(
        "--processes",
        metavar="N",
        type=WholeRange(1, MAX_PROCESSES),
        default=1,
        show_default=True,
        help="Fetch on so many cores; a host belongs to one of them.",
    ),
    click.option("--tls-timeout", metavar="SECONDS", type=SECONDS, help="Seconds for the TLS handshake alone."),
    click.option("--first-byte-timeout", metavar="SECONDS", type=SECONDS, help="Seconds until an answer begins."),
    click.option(
        "--read-timeout",
        metavar="SECONDS",
        type=SECONDS,
        default=30.0,
        show_default=True,
        help="Seconds that a server may be silent.",
    ),
    click.option(
        "--max-body",
        metavar="BYTES",
        type=COUNT,
        default=1 << 26,
        show_default=True,
        help="A body that is longer than this when decoded is an error.",
    ),
]
PACE: Final = [
    click.option("--rate", metavar="N", type=SECONDS, help="Start at most N requests a second in all."),
    click.option("--host-rate", metavar="N", type=SECONDS, help="Start at most N requests a second to a host."),
    click.option(
        "--delay", metavar="SECONDS", type=FiniteRange(0), default=0.0, help="Seconds between two starts to a host."
    ),
    click.option("--adapt", is_flag=True, help="Ask hosts that answer 429 or 503, or ever more slowly, less often."),
    click.option(
        "--retries",
        metavar="N",
        type=COUNT,
        default=0,
        show_default=True,
        help="Try N more times what may pass: lost connections, timeouts, 429, 5xx.",
    ),
    click.option(
        "--max-host-errors",
        metavar="N",
        type=WholeRange(1),
        help="Give a host up that did not answer N times in a row.  [default: never]",
    ),
    click.option(
        "--max-retry-after",
        metavar="SECONDS",
        type=SECONDS,
        default=120.0,
        show_default=True,
        help="Obey a Retry-After up to this; do not wait for longer ones.",
    ),
]
NETWORK: Final[list[Decorator]] = [
    click.option("--proxy", metavar="URL", help="http, https, socks5 or socks5h://[USER:PASSWORD@]HOST:PORT."),
    click.option(
        "--no-proxy", metavar="LIST", help="Hosts, domains, blocks to ask directly; `*` for all.  [default: no_proxy]"
    ),
    route_options,
    click.option("--no-private", is_flag=True, help="Refuse addresses that are not public, also behind redirects."),
    ca_file_option(),
    insecure_option(),
    click.option("--cert", metavar="FILE", type=READABLE, help="Our certificate, PEM, with its key or without."),
    click.option("--key", metavar="FILE", type=READABLE, help="The key of --cert."),
    click.option(
        "--tls-min",
        type=click.Choice(list(TLS_VERSIONS)),
        default="1.2",
        show_default=True,
        help="The least version of TLS.",
    ),
    click.option("--http2", is_flag=True, help="Offer HTTP/2; exchanges with a host then share connections."),
    click.option(
        "--max-streams",
        metavar="N",
        type=WholeRange(1),
        default=100,
        help="How many exchanges share an HTTP/2 connection, at most.",
    ),
    click.option("--sni", metavar="NAME", help="Ask TLS for this name, and check the certificate for it."),
    click.option(
        "--pin",
        "pins",
        metavar="SHA256",
        multiple=True,
        help="The server's certificate or key must have this digest. May be repeated.",
    ),
]
FACTS: Final = [
    click.option(
        "--facts",
        metavar="LIST",
        help="Look into bodies: title, words, lines, sha256, simhash, tech, between commas, or `all`.",
    ),
    click.option("--tls-facts", is_flag=True, help="Add version, cipher and certificate."),
    click.option("--favicon", is_flag=True, help="Add the hash of each site's favicon."),
    click.option(
        "--match",
        "matches",
        metavar="CONDITION",
        multiple=True,
        type=LINES,
        help="Write only what fulfils this, as in status=200,301-308. May be repeated.",
    ),
    click.option(
        "--filter",
        "filters",
        metavar="CONDITION",
        multiple=True,
        type=LINES,
        help="Do not write what fulfils this, as in title~error. May be repeated.",
    ),
]
OUTPUT: Final[list[Decorator]] = [
    format_option("jsonl", "csv", "text", default="jsonl"),
    click.option(
        "--fields", metavar="LIST", help="Write these columns, as in status,url,elapsed.total,headers.server."
    ),
    output_option(),
    click.option(
        "--warc",
        metavar="FILE",
        type=FILE,
        callback=needs_warcio,
        help="Also write requests and responses to a WARC file, gzipped.",
    ),
    click.option("--warc-dedup", is_flag=True, help="In the WARC file, refer to a body that is there already."),
    click.option(
        "--save",
        metavar="DIR",
        type=click.Path(file_okay=False),
        help="Also write each body to a file of its own in DIR.",
    ),
    click.option("--sqlite", metavar="FILE", type=FILE, help="Also write the results to a SQLite database."),
    click.option(
        "--state", metavar="FILE", type=FILE, help="Keep in FILE what is done; after any end the same command goes on."
    ),
    click.option(
        "--summary",
        metavar="FILE",
        type=FILE,
        help="At the end, write counts, errors and percentiles to FILE, as JSON.",
    ),
    progress_option(),
    click.option("--fail", is_flag=True, help="Exit with 1 if some URL was not answered."),
]
GROUPS: Final[tuple[Sequence[Decorator], ...]] = (INPUT, REQUEST, LIMITS, PACE, NETWORK, FACTS, OUTPUT)
FETCH_SECTIONS: Final = {
    "--input-format": "The list",
    "--method": "The request",
    "--concurrency": "How many, and how long",
    "--rate": "The pace",
    "--proxy": "The network",
    "--facts": "What is looked for, and which results are written",
    "--format": "The output",
}


def fetch_options() -> Decorator:
    """Add all options of fetch."""
    options = [option for group in GROUPS for option in group]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
