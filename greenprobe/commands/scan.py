"""`greenprobe scan`: which ports of which hosts are open, closed or filtered, and what speaks there."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from time import time
from typing import Any

import click

from greenprobe.commands.companions import check_companions
from greenprobe.commands.counted import counted
from greenprobe.commands.distinct import check_distinct, check_kept
from greenprobe.commands.keys import status_on_key
from greenprobe.commands.options import Progress
from greenprobe.commands.output import Output
from greenprobe.commands.scan_formats import ScanDatabase
from greenprobe.commands.scan_journal import ScanJournal
from greenprobe.commands.scan_options import SCAN_SECTIONS, ScanOptions, scan_options
from greenprobe.commands.scan_plan import plan_of, targets_of
from greenprobe.commands.scan_says import no_echoes, summarize, troubles_told
from greenprobe.commands.scan_shard import ScanTask, batches_of
from greenprobe.commands.scan_sink import ROWS, KeptSink, RowSink, Sink, lines_form, report_sink
from greenprobe.commands.sections import SectionedCommand
from greenprobe.engine.discovery import alive_hosts
from greenprobe.engine.processes import process_command
from greenprobe.engine.scan_shards import ScanBatch, ScanShards, parts_of
from greenprobe.engine.scanner import Scanner
from greenprobe.engine.scanplan import ScanPlan, ScanRecord, ScanStatistics
from greenprobe.engine.targets import Targets
from greenprobe.hub import get_hub

__all__ = ["scan"]

Batches = Generator[list[ScanRecord], None, None] | Generator[ScanBatch, None, None]


@click.command(
    cls=SectionedCommand, sections=SCAN_SECTIONS, short_help="Say which ports are open, closed or filtered, and why."
)
@scan_options
@click.pass_obj
def scan(progress: Progress, /, **words: Any) -> None:
    """Say which PORTS of each HOST are open, closed or filtered, why, and with --service what speaks there.

    HOST is a name, an IPv4 or IPv6 address, a block, or a range such as 10.0.0-3.1-254. PORTS are numbers, service
    names and ranges between commas; - is all, U: makes what follows UDP.

    \b
      greenprobe scan 127.0.0.1 22,80,443,8000-8100
      greenprobe scan ::1 127.0.0.0/30 ssh,U:53 --format jsonl
      greenprobe scan localhost - --open
      greenprobe scan localhost --top-ports 100 --service

    The table shows open ports and counts the others; with at most 20 ports it shows them all. Scan only machines that
    you are responsible for, or whose owners agreed.
    """
    check_companions()
    options = ScanOptions(**words)
    check_distinct(words, ("output", "sqlite", "resume"))
    check_kept(words, ("sqlite", "resume"), [*options.hosts_files, *options.exclude_files])
    journal = _journal(options)
    if journal is not None and not journal.is_new:
        options = _resumed(options, journal)
    plan = _plan(options, journal)
    with ExitStack() as stack:
        out, rows = _outputs(stack, options, journal)
        if journal is not None:
            _begin(journal, plan, options, rows)
        scanner, batches = _scan(options, plan, journal)
        database = _database(stack, options, journal)
        stack.callback(lambda: summarize(scanner.statistics()))
        with _ending(_sink(options, plan, journal, out, rows), out) as sink:
            write = _writer(options, sink, rows, journal, database)
            with _watched(progress, options, scanner), closing(batches):
                for batch in batches:
                    write(batch)
        if journal is not None:
            out.sync()
            _sync(rows, database)
            journal.finish()


def _plan(options: ScanOptions, journal: ScanJournal | None) -> ScanPlan:
    goes_on = journal is not None and not journal.is_new
    plan = plan_of(options, journal.targets() if journal is not None and goes_on else targets_of(options))
    if goes_on or not options.ping:
        return plan
    hosts, refusals = alive_hosts(plan)
    for line in no_echoes(refusals):
        click.echo(line, err=True)
    total = counted(plan.targets.hosts.count, "host answers", "hosts answer")
    click.echo(f"{hosts.count:,} of {total}", err=True)
    return replace(plan, targets=Targets(hosts, plan.targets.ports, seed=plan.targets.seed))


def _scan(options: ScanOptions, plan: ScanPlan, journal: ScanJournal | None) -> tuple[Scanner | ScanShards, Batches]:
    """Return what scans, and the generator of what it finds."""
    ledger = journal.ledger.state() if journal is not None and not journal.is_new else None
    count = options.processes
    if count == 1:
        scanner = ScanTask(plan, options, ledger, "", 1).scanner()
        return scanner, batches_of(scanner, options)
    lines = "" if options.sqlite else lines_form(options)
    tasks = [ScanTask(part, options, ledger, lines, count) for part in parts_of(plan, count)]
    total = plan.total - (journal.ledger.count if journal is not None else 0)
    shards = ScanShards(get_hub(), tasks, total=total, command=process_command("greenprobe.commands.scan_shard"))
    return shards, shards.run()


@contextmanager
def _watched(progress: Progress, options: ScanOptions, scanner: Scanner | ScanShards) -> Iterator[None]:
    """Say how far the scan is, and what troubles it, while the block runs."""

    def read() -> tuple[float, str]:
        return _reading(scanner.statistics())

    with ExitStack() as stack:
        if "-" not in options.hosts_files:
            stack.enter_context(status_on_key(read))
        stack.enter_context(progress(read, options.progress_mode))
        stack.enter_context(troubles_told(scanner.statistics))
        yield


# -- going on after an end that was none


def _journal(options: ScanOptions) -> ScanJournal | None:
    if options.resume is None:
        return None
    journal = ScanJournal.open(options.resume)
    if journal.is_new and not options.words and not options.hosts_files:
        raise click.UsageError(f"there is no {options.resume} to go on with; say which HOST and PORTS, to begin it")
    if journal.is_new and options.output == "-" and options.format_name in ROWS:
        raise click.UsageError("--resume needs -o FILE, to go on with")
    return journal


def _outputs(stack: ExitStack, options: ScanOptions, journal: ScanJournal | None) -> tuple[Output, Output]:
    """Return the output, and where lines go while the scan runs: it may be the same."""
    at = journal.written if journal is not None else None
    is_kept = journal is not None and options.format_name not in ROWS
    out = Output(options.output, inputs=options.hosts_files, goes_on_at=None if is_kept else at)
    stack.enter_context(out)
    if journal is None or not is_kept:
        return out, out
    return out, stack.enter_context(Output(journal.rows_path, goes_on_at=at))


def _sink(options: ScanOptions, plan: ScanPlan, journal: ScanJournal | None, out: Output, rows: Output) -> Sink:
    if options.format_name in ROWS:
        goes_on = journal is not None and bool(journal.written)
        return RowSink(out, options.format_name, has_heading=not goes_on)
    report = report_sink(out, options, plan, started=time() if journal is None else journal.started)
    return report if journal is None else KeptSink(rows, journal.rows_path, report)


def _begin(journal: ScanJournal, plan: ScanPlan, options: ScanOptions, rows: Output) -> None:
    if not rows.is_file:
        raise click.UsageError(f"{options.output} is no regular file; --resume needs one, to go on with")
    if journal.is_new:
        given = {name: value for name, value in asdict(options).items() if name in KEPT}
        journal.begin(plan, given | {"probes_file": options.probes_file and str(options.probes_file)})


KEPT = frozenset(ScanOptions.__slots__) - {"resume", "hosts_files", "exclude_files", "is_authorized", "progress_mode"}


def _resumed(options: ScanOptions, journal: ScanJournal) -> ScanOptions:
    """Return the options that the scan was begun with. Raises click.UsageError if other words were typed."""
    kept: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in journal.options.items()
    }
    if kept.get("probes_file"):
        kept["probes_file"] = Path(kept["probes_file"])
    if options.words and options.words != kept["words"]:
        raise click.UsageError(f"{options.resume} is of the scan of {' '.join(kept['words'])}; name another file")
    left = journal.targets().count - journal.ledger.count
    click.echo(f"going on with {counted(left, 'port that is', 'ports that are')} not finished", err=True)
    return replace(options, **kept)


# -- what is done with the records


def _writer(
    options: ScanOptions, sink: Sink, rows: Output, journal: ScanJournal | None, database: ScanDatabase | None
) -> Callable[[list[ScanRecord] | ScanBatch], None]:
    def write(batch: list[ScanRecord] | ScanBatch) -> None:
        if isinstance(batch, ScanBatch):
            records = batch.records
            rows.write(batch.lines)
        else:
            records = batch
        shown = [record for record in records if record.state == "open"] if options.only_open else records
        sink.write(shown)
        if database is not None:
            database.add(shown)
        if journal is not None:
            journal.note(_places(batch))
            journal.save_now_and_then(lambda: _sync(rows, database))

    return write


def _places(batch: list[ScanRecord] | ScanBatch) -> list[int]:
    return batch.places if isinstance(batch, ScanBatch) else [record.place for record in batch]


def _database(stack: ExitStack, options: ScanOptions, journal: ScanJournal | None) -> ScanDatabase | None:
    if not options.sqlite:
        return None
    goes_on = journal is not None and not journal.is_new
    return stack.enter_context(closing(ScanDatabase(options.sqlite, goes_on=goes_on)))


def _sync(rows: Output, database: ScanDatabase | None) -> int:
    """Have everything on the disk; return how many bytes of lines there are."""
    if database is not None:
        database.commit()
    return rows.sync()


@contextmanager
def _ending(sink: Sink, out: Output) -> Iterator[Sink]:
    """Have a sink write the rest, however the scan ends."""
    try:
        yield sink
    finally:
        sink.end()
        out.flush()


def _reading(now: ScanStatistics) -> tuple[float, str]:
    reached = now.done + now.silent
    part = reached / now.total if now.total else 1.0
    rate = reached / now.elapsed if now.elapsed else 0.0
    return part, f"{reached:,} of {counted(now.total, 'port')}, {rate:,.0f} a second, {now.open:,} open"
