"""The options of `greenprobe crawl`, and what they mean as a plan."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import click

from greenprobe.commands.crawl_graph import is_graphml
from greenprobe.commands.options import (
    MAX_PROCESSES,
    Decorator,
    FiniteRange,
    WholeRange,
    concurrency_option,
    format_option,
    output_option,
    progress_option,
    timeout_option,
)
from greenprobe.commands.route_options import route_options
from greenprobe.commands.trust_options import ca_file_option, insecure_option
from greenprobe.commands.warc import needs_warcio
from greenprobe.engine.browser import find_browser
from greenprobe.engine.canonical import QueryRule
from greenprobe.engine.crawlplan import CrawlPlan, TypeRule, start_of
from greenprobe.engine.scope import ScopeRules, Within
from greenprobe.errors import TargetError
from greenprobe.http.client import ClientOptions

__all__ = ["CRAWL_SECTIONS", "crawl_options", "plan_of"]

SECONDS: Final = FiniteRange(0)
COUNT: Final = WholeRange(1)
MAX_SPARE: Final = 500  # idle connections beyond those at work: the hosts of a crawl take turns


def refuse_other_graphs(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Raise click.UsageError for a file of another form, before any other file is touched."""
    if value is not None:
        is_graphml(value)
    return value


OPTIONS: Final[tuple[Decorator, ...]] = (
    click.option(
        "--within",
        type=click.Choice([each.value for each in Within]),
        default=Within.HOST.value,
        show_default=True,
        help="Walk the start hosts only, their subdomains too, their registered domain, or any host.",
    ),
    click.option("--scheme", "schemes", type=click.Choice(["http", "https"]), multiple=True,
                 help="Walk only links of this scheme. May be repeated.  [default: both]"),
    click.option("--below", is_flag=True, help="Keep to the folders of the start URLs."),
    click.option("--include", metavar="REGEX", multiple=True,
                 help="Walk only URLs in which REGEX is found. May be repeated."),
    click.option("--exclude", metavar="REGEX", multiple=True,
                 help="Do not walk URLs in which REGEX is found. May be repeated."),
    click.option("--depth", metavar="N", type=WholeRange(0), help="Follow at most N links from a start."),
    click.option(
        "--query",
        type=click.Choice([each.value for each in QueryRule]),
        default=QueryRule.CLEAN.value,
        show_default=True,
        help="Keep the queries of links, clean them of trackers, sort them too, or drop them.",
    ),
    click.option("--no-sitemaps", is_flag=True, help="Do not read sitemaps and feeds."),
    click.option("--assets", is_flag=True, help="Fetch images, scripts and stylesheets, too."),
    click.option("--same-ip", is_flag=True, help="Fetch only from hosts that have an IP address of a start."),
    click.option("--content-type", "types", metavar="TYPE", multiple=True,
                 help="Take only bodies of this media type, as text/html or image/*. May be repeated."),
    click.option("--max-pages", metavar="N", type=COUNT, help="End after N pages."),
    click.option("--max-host-pages", metavar="N", type=COUNT, help="Fetch at most N pages of a host."),
    click.option("--time", "max_seconds", metavar="SECONDS", type=SECONDS, help="End after so many seconds."),
    concurrency_option(default=100),
    click.option(
        "--per-host",
        metavar="N",
        type=COUNT,
        default=4,
        show_default=True,
        help="How many run at once against one scheme, host and port, at most; one where there is a delay.",
    ),
    click.option(
        "--delay",
        metavar="SECONDS",
        type=SECONDS,
        default=0.0,
        show_default=True,
        help="Seconds between two requests to a host, or to an IP address; robots.txt may ask for more.",
    ),
    click.option("--retries", metavar="N", type=WholeRange(0), default=2, show_default=True,
                 help="Ask again N times for what fails for the moment."),
    click.option("--ignore-robots", is_flag=True,
                 help="Do not ask for robots.txt: only for sites that are yours, or whose owner agrees."),
    click.option("--ignore-nofollow", is_flag=True, help="Follow links that say nofollow, too."),
    click.option("--user-agent", metavar="NAME", default="greenprobe", show_default=True,
                 help="The name that is sent, and that robots.txt is read for."),
    click.option("--contact", metavar="URL", help="A URL or mail address that is sent along: whom to ask about it."),
    timeout_option(default=30.0, what="a page must be done, or it fails"),
    click.option("--max-body", metavar="BYTES", type=WholeRange(0), default=10 << 20, show_default=True,
                 help="A page that is longer than this when decoded is an error."),
    click.option("--max-type-body", "type_limits", metavar="TYPE BYTES", type=(str, WholeRange(0)), multiple=True,
                 help="The same for bodies of a media type, as image/* 100000. May be repeated."),
    click.option("--body-memory", "body_memory_bytes", metavar="BYTES", type=WholeRange(1), default=256 << 20,
                 show_default=True, help="Hold at most so many bytes of bodies at once; the next big one waits."),
    click.option("--processes", metavar="N", type=WholeRange(0, MAX_PROCESSES), default=1, show_default=True,
                 help="Read pages of more than 48 kB in N processes; with 0 read them here, however long that takes."),
    route_options,
    click.option("--render", is_flag=True, help="Read pages as a headless Chromium makes them, scripts run."),
    click.option("--render-concurrency", "renders", metavar="N", type=WholeRange(1, 64), default=2,
                 show_default=True, help="How many pages are rendered at once, at most."),
    click.option("--render-timeout", "render_seconds", metavar="SECONDS", type=FiniteRange(0, min_open=True),
                 default=10.0, show_default=True, help="Seconds for a page; then it is taken as it is."),
    click.option("--no-private", is_flag=True, help="Refuse private and loopback addresses."),
    ca_file_option(),
    insecure_option(),
    click.option("--state", metavar="FILE", type=click.Path(dir_okay=False),
                 help="Keep the frontier there; the same command goes on."),
    click.option("--links", metavar="FILE", type=click.Path(dir_okay=False),
                 help="Write every link that is found to FILE, as JSON lines."),
    click.option("--graph", metavar="FILE", type=click.Path(dir_okay=False), callback=refuse_other_graphs,
                 help="Write the graph of the links that are followed to FILE: .graphml or .csv."),
    click.option("--warc", metavar="FILE", type=click.Path(dir_okay=False), callback=needs_warcio,
                 help="Write requests and responses, robots.txt too, to a WARC file."),
    click.option("--sqlite", metavar="FILE", type=click.Path(dir_okay=False),
                 help="Write pages and links to tables of an SQLite database, too."),
    progress_option(),
    format_option("jsonl", "csv", "text", default="jsonl"),
    output_option(),
)  # fmt: skip
CRAWL_SECTIONS: Final = {
    "--within": "Where to walk",
    "--concurrency": "How to ask",
    "--state": "What comes out",
}


def crawl_options() -> Decorator:
    """Add all options of the command."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(OPTIONS):
            command = option(command)
        return command

    return add


def plan_of(starts: tuple[str, ...], words: Mapping[str, Any]) -> CrawlPlan:
    """Return what the words mean. Raises TargetError; RenderError if pages are to be rendered and cannot be."""
    for name in ("include", "exclude"):
        for pattern in words[name]:
            try:
                re.compile(pattern)
            except re.error as exc:
                raise TargetError(f"--{name} {pattern!r} is no regular expression: {exc}") from exc
    agent = words["user_agent"]
    sent = f"{agent} (+{words['contact']})" if words["contact"] else agent
    return CrawlPlan(
        starts=tuple(map(start_of, starts)),
        scope=ScopeRules(
            Within(words["within"]),
            words["below"],
            words["include"],
            words["exclude"],
            words["depth"],
            words["schemes"],
        ),
        query=QueryRule(words["query"]),
        concurrency=words["concurrency"],
        per_host=1 if words["delay"] else words["per_host"],
        delay=words["delay"],
        max_pages=words["max_pages"],
        max_host_pages=words["max_host_pages"],
        max_seconds=words["max_seconds"],
        obeys_robots=not words["ignore_robots"],
        follows_nofollow=words["ignore_nofollow"],
        reads_sitemaps=not words["no_sitemaps"],
        fetches_assets=words["assets"],
        retries=words["retries"],
        processes=words["processes"],
        same_ip=words["same_ip"],
        body_memory_bytes=words["body_memory_bytes"],
        browser=find_browser() if words["render"] else "",
        renders=words["renders"],
        render_seconds=words["render_seconds"],
        types=types_of(words["types"], words["type_limits"]),
        takes_other_types=not words["types"],
        agent=agent,
        client=ClientOptions(
            per_host=words["per_host"],
            max_open=words["concurrency"] + MAX_SPARE,
            total_timeout=words["timeout"],
            max_redirects=0,
            max_body_bytes=words["max_body"],
            allows_private=not words["no_private"],
            user_agent=sent,
            records_exchanges=words["warc"] is not None,
        ),
    )


def types_of(wanted: Iterable[str], limits: Iterable[tuple[str, int]]) -> tuple[TypeRule, ...]:
    """Return the rules for media types, those with a limit first. Raises TargetError."""
    rules = [TypeRule(pattern, limit_bytes) for pattern, limit_bytes in limits] + [TypeRule(each) for each in wanted]
    for rule in rules:
        if "/" not in rule.pattern:
            raise TargetError(f"{rule.pattern!r} is no media type; write text/html, or image/* for all images")
    return tuple([rule._replace(pattern=rule.pattern.lower()) for rule in rules])
