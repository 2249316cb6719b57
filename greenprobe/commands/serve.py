"""`greenprobe serve`: a WSGI application, or a folder of files."""

from collections.abc import Mapping
from typing import Any

import click

from greenprobe.access_log import FORMATS
from greenprobe.commands.companions import check_companions
from greenprobe.commands.options import READABLE, FiniteRange, WholeRange
from greenprobe.http.forwarded import TrustedProxies, read_networks
from greenprobe.listeners import read_bind
from greenprobe.serving import ServePlan, serve_plan
from greenprobe.wsgi_connection import Limits, Timeouts

__all__ = ["serve"]


@click.command(short_help="Serve a WSGI application, or a folder of files.")
@click.argument("target", metavar="APP|FOLDER")
@click.option(
    "-b",
    "--bind",
    "binds",
    metavar="PLACE",
    multiple=True,
    default=["127.0.0.1:8000"],
    show_default=True,
    help="Listen at HOST:PORT, [HOST]:PORT, unix:PATH or fd:NUMBER; may be given several times.",
)
@click.option(
    "-p",
    "--processes",
    metavar="N",
    type=WholeRange(1, 1000),
    default=1,
    show_default=True,
    help="Serve in N processes.",
)
@click.option("--tls-cert", metavar="FILE", type=READABLE, help="Speak TLS with this certificate chain (PEM).")
@click.option("--tls-key", metavar="FILE", type=READABLE, help="Its private key, if it is not in the same file.")
@click.option(
    "--access-log",
    metavar="FORMAT",
    type=click.Choice([*FORMATS, "off"]),
    default="off",
    show_default=True,
    help="Write a line for each request: common, combined, json, off.",
)
@click.option(
    "--access-log-file",
    metavar="FILE",
    default="-",
    show_default=True,
    help="Where --access-log writes; `-` is standard output.",
)
@click.option(
    "--max-connections",
    metavar="N",
    type=WholeRange(1),
    help="Serve N connections at once, at most, in each process.",
)
@click.option(
    "--max-per-client", metavar="N", type=WholeRange(1), help="Serve N connections of one address at once, at most."
)
@click.option(
    "--max-body",
    metavar="BYTES",
    type=WholeRange(0),
    default=1 << 30,
    show_default=True,
    help="A request with a longer body is answered with 413.",
)
@click.option(
    "--min-body-rate",
    metavar="BYTES",
    type=FiniteRange(0),
    default=50.0,
    show_default=True,
    help="A body that comes with fewer bytes a second, for the --io-timeout, is answered with 408; 0 lets it.",
)
@click.option(
    "--head-timeout",
    metavar="SECONDS",
    type=FiniteRange(0, min_open=True),
    default=20.0,
    show_default=True,
    help="Seconds in which the head of a request must come.",
)
@click.option(
    "--idle-timeout",
    metavar="SECONDS",
    type=FiniteRange(0, min_open=True),
    default=75.0,
    show_default=True,
    help="Seconds that a connection may wait for its next request.",
)
@click.option(
    "--io-timeout",
    metavar="SECONDS",
    type=FiniteRange(0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds that a client may be silent within a body, or not read its answer.",
)
@click.option(
    "--trust-proxy",
    "trusted",
    metavar="NETWORK",
    multiple=True,
    help="Believe what this proxy says of its client; may be given several times.",
)
@click.option(
    "--forwarded",
    metavar="KIND",
    type=click.Choice(["x-forwarded", "standard"]),
    default="x-forwarded",
    show_default=True,
    help="What trusted proxies say it with: x-forwarded (X-Forwarded-For, -Proto), standard (Forwarded).",
)
@click.option("--proxy-protocol", is_flag=True, help="Expect a PROXY header (version 1 or 2) on every connection.")
@click.option("--reuse-port", is_flag=True, help="Let other programs listen at the same port (SO_REUSEPORT).")
@click.option("--patch", is_flag=True, help="Make the standard library green before the application is loaded.")
@click.option("--reload", is_flag=True, help="Start anew when the application's source changes.")
@click.option("--listing", is_flag=True, help="Show what is in a folder that has no index.html.")
@click.option("--no-server-header", is_flag=True, help="Send no Server field.")
@click.option("--asgi", is_flag=True, help="The application is an ASGI one.")
@click.option(
    "--stop-timeout",
    metavar="SECONDS",
    type=FiniteRange(0),
    default=30.0,
    show_default=True,
    help="Seconds in which requests may finish when the server stops.",
)
def serve(**words: Any) -> int:
    """Serve a WSGI application, or a folder of files.

    APP is MODULE:OBJECT, as in mysite.wsgi:application; `()` behind it calls a factory. FOLDER is a path.

    SIGTERM and Ctrl-C finish what runs and stop, a second one stops at once; SIGHUP starts anew from new code without
    losing a connection.

    \b
    greenprobe serve mysite.wsgi:application --processes 4
    greenprobe serve 'mysite:create_app()' --bind 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem
    greenprobe serve ./public --listing
    """
    check_companions()
    return serve_plan(plan_of(words), lambda line: click.echo(line, err=True))


def plan_of(words: Mapping[str, Any]) -> ServePlan:
    """Return what the words of the command line ask for. Raises click.UsageError."""
    proxies = None
    if words["trusted"]:
        proxies = TrustedProxies(read_networks(words["trusted"]), standard=words["forwarded"] == "standard")
    return ServePlan(
        target=words["target"],
        binds=tuple(read_bind(bind) for bind in words["binds"]),
        processes=words["processes"],
        listing=words["listing"],
        tls_cert=words["tls_cert"],
        tls_key=words["tls_key"],
        log_format=None if words["access_log"] == "off" else words["access_log"],
        log_file=words["access_log_file"],
        limits=Limits(
            body_bytes=words["max_body"],
            min_body_bytes_per_s=words["min_body_rate"] or None,
            connections=words["max_connections"],
            connections_per_client=words["max_per_client"],
        ),
        timeouts=Timeouts(head=words["head_timeout"], idle=words["idle_timeout"], io=words["io_timeout"]),
        proxies=proxies,
        proxy_protocol=words["proxy_protocol"],
        reuse_port=words["reuse_port"],
        reload=words["reload"],
        asgi=words["asgi"],
        patch=words["patch"],
        server_header=not words["no_server_header"],
        stop_timeout=words["stop_timeout"],
    )
