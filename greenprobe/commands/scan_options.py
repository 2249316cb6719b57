"""The options of `greenprobe scan`, and what they come to: targets and a plan."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from greenprobe.commands.name_servers import dns_option
from greenprobe.commands.options import (
    MAX_CONCURRENCY,
    MAX_PROCESSES,
    Decorator,
    FiniteRange,
    WholeRange,
    family_options,
    format_option,
    output_option,
    progress_option,
    refuse_closed_stdin,
)
from greenprobe.errors import TargetError

__all__ = ["FORMATS", "SCAN_SECTIONS", "ScanOptions", "Tempo", "read_words", "scan_options"]

PORT_WORD: Final = re.compile(r"[TU]:.*|-|\d{1,5}([-,]\d{1,5})*", re.ASCII)  # no host has such a name
FORMATS: Final = ("table", "jsonl", "csv", "text", "xml", "grepable")


class Tempo(NamedTuple):
    """What `--timing` stands for. Each can be given by an option of its own."""

    concurrency: int
    timeout: float
    retries: int
    rate: float
    first_window: int
    host_window: int


TEMPOS: Final = {
    "polite": Tempo(64, 3.0, 9, 100.0, 8, 8),
    "normal": Tempo(4000, 1.0, 9, 0.0, 64, 4000),
    "fast": Tempo(8000, 0.5, 3, 0.0, 512, 8000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOptions:
    """The words and options of a run, as they were typed."""

    words: tuple[str, ...]
    ports: str | None
    top_ports: int | None
    exclude_ports: str | None
    hosts_files: tuple[str, ...]
    exclude: tuple[str, ...]
    exclude_files: tuple[str, ...]
    ipv4: bool
    ipv6: bool
    all_addresses: bool
    is_authorized: bool
    ping: bool
    only_open: bool
    asks_service: bool
    asks_banner: bool
    probes_file: Path | None
    timing: str
    concurrency: int | None
    timeout: float | None
    retries: int | None
    rate: float | None
    min_rate: float
    seed: int | None
    shard: str | None
    processes: int
    dns: str | None
    source: str | None
    interface: str | None
    resume: str | None
    sqlite: str | None
    format_name: str
    output: str
    progress_mode: str

    def tempo(self) -> Tempo:
        """Return the timing, with what was given by itself."""
        tempo = TEMPOS[self.timing]
        given = {name: getattr(self, name) for name in ("concurrency", "timeout", "retries", "rate")}
        return tempo._replace(**{name: value for name, value in given.items() if value is not None})

    def hosts_and_ports(self) -> tuple[tuple[str, ...], str | None]:
        """Return the host words, and the words for ports if they are among them. Raises click.UsageError."""
        if self.ports is not None and self.top_ports is not None:
            raise click.UsageError("--ports and --top-ports both say which ports; give one of them")
        if self.ports is not None:
            return refuse_ports(self.words, "--ports"), None
        if self.top_ports is not None:
            return refuse_ports(self.words, "--top-ports"), None
        if len(self.words) < 2 and not (self.words and self.hosts_files):
            raise click.UsageError("say which HOST and, last, which PORTS: greenprobe scan 192.0.2.1 22,80")
        return self.words[:-1], self.words[-1]


def refuse_ports(words: tuple[str, ...], option: str) -> tuple[str, ...]:
    """Return words that are hosts. Raises click.UsageError for ports among them, as an option says these."""
    if words and PORT_WORD.fullmatch(words[-1]):
        raise click.UsageError(f"{words[-1]!r} is no host; {option} says which ports")
    return words


TARGETS: Final = (
    click.argument("words", metavar="HOST... PORTS", nargs=-1),
    click.option("-p", "--ports", metavar="PORTS", help="The ports, if they are not the last word; `U:53` is UDP."),
    click.option(
        "--top-ports",
        metavar="N",
        type=WholeRange(1, 65535),
        help="The N TCP ports most worth a look; no word for PORTS then.",
    ),
    click.option("--exclude-ports", metavar="PORTS", help="Leave these ports out."),
    click.option(
        "--hosts",
        "hosts_files",
        metavar="FILE",
        multiple=True,
        help="Take hosts from a file, `-` is standard input: words between blanks; # is a comment. May be repeated.",
    ),
    click.option("--exclude", metavar="HOST", multiple=True, help="Leave out an address or block. May be repeated."),
    click.option(
        "--exclude-hosts",
        "exclude_files",
        metavar="FILE",
        multiple=True,
        help="Leave out the hosts of a file. May be repeated.",
    ),
    family_options("Of names, scan"),
    click.option("--all-addresses", is_flag=True, help="Scan every address of a name, not just the first."),
    click.option(
        "--i-am-authorized",
        "is_authorized",
        is_flag=True,
        help="Scan more than 1,024 hosts outside of private networks: only with their owners' consent.",
    ),
    click.option(
        "--ping",
        is_flag=True,
        help="Ask by ICMP, where permitted, and some common ports first; scan who answers.  [default: scan all]",
    ),
)
QUESTIONS: Final = (
    click.option("--open", "only_open", is_flag=True, help="Write open ports only, in every format."),
    click.option(
        "--service", "asks_service", is_flag=True, help="Say what speaks at each open port, and what it tells."
    ),
    click.option("--banner", "asks_banner", is_flag=True, help="As --service, but only listen and ask once."),
    click.option(
        "--probes",
        "probes_file",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
        help="Take more probes from a TOML file; see `greenprobe probes`.",
    ),
)
PACE: Final = (
    click.option(
        "--timing",
        type=click.Choice(list(TEMPOS)),
        default="normal",
        show_default=True,
        help="How hard to ask: polite is 100 a second and 8 at once to a host, fast waits shorter and asks less often.",
    ),
    click.option(
        "-c",
        "--concurrency",
        metavar="N",
        type=WholeRange(1, MAX_CONCURRENCY),
        help="How many run at once, at most.  [default: 4000]",
    ),
    click.option(
        "--timeout",
        metavar="SECONDS",
        type=FiniteRange(0, min_open=True),
        help="Seconds in which an answer must come; the answers of a host teach a shorter time.  [default: 1]",
    ),
    click.option(
        "--retries",
        metavar="N",
        type=WholeRange(0, 20),
        help="How often a silent port is asked again, at most; the path says how often it needs that.  [default: 9]",
    ),
    click.option("--rate", metavar="N", type=FiniteRange(0, min_open=True), help="Send at most N probes a second."),
    click.option(
        "--min-rate",
        metavar="N",
        type=FiniteRange(0),
        default=0.0,
        help="Send at least N probes a second, whatever is lost by it.  [default: what the path carries]",
    ),
    click.option(
        "--seed", metavar="N", type=WholeRange(0), help="Probe in the order of this number.  [default: random]"
    ),
    click.option(
        "--shard", metavar="K/N", help="Scan the K-th of N parts; the others run elsewhere, with the same --seed."
    ),
    click.option(
        "--processes",
        metavar="N",
        type=WholeRange(1, MAX_PROCESSES),
        default=1,
        show_default=True,
        help="Scan on N cores: each process asks its part, and what is bounded in all is divided.",
    ),
    dns_option(),
    click.option("--source", metavar="ADDRESS", help="Send from this address of ours."),
    click.option("--interface", metavar="NAME", help="Send through this interface."),
)
RESULTS: Final = (
    click.option(
        "--resume",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="Keep in FILE how far the scan is, and go on from there if it exists; lines need -o.",
    ),
    click.option("--sqlite", metavar="FILE", type=click.Path(dir_okay=False), help="Write the results to SQLite, too."),
    format_option(*FORMATS, default="table"),
    output_option(),
    progress_option(),
)
SCAN_SECTIONS: Final = {
    "--ports": "Which hosts and ports",
    "--open": "What is looked for",
    "--timing": "How fast, and from where",
    "--resume": "The output",
}


def scan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a scan to a command that takes them as keywords."""
    decorators: Iterable[Decorator] = (*TARGETS, *QUESTIONS, *PACE, *RESULTS)
    for decorator in reversed(list(decorators)):
        command = decorator(command)
    return command


def read_words(paths: Iterable[str]) -> Iterator[str]:
    """Yield the words of files, read as they are needed. Raises TargetError, which names the file; click.UsageError."""
    for path in paths:
        refuse_closed_stdin(path)
        try:
            with click.open_file(path, encoding="utf-8") as lines:
                for line in lines:
                    yield from line.partition("#")[0].split()
        except OSError as exc:
            raise TargetError(f"cannot read hosts from {path}: {exc.strerror}") from exc
        except UnicodeDecodeError as exc:
            raise TargetError(f"{path} is no text: {exc.reason}; write a host a line") from exc
