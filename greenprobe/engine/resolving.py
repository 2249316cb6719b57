"""The resolve engine: greenthreads that take names from a list and ask for them, and the records of what came of it.

There is no greenthread for each name: up to `concurrency` of them each take the next name, ask, and note the record.
How many queries are under way to one server at once is another matter (`dns/flow.py`): no more greenthreads are started
while some stand in line for that, as a place in line costs half as much as a query. `workers.py` hands their records
over. Each name that was taken leads to exactly one record.
"""

from collections.abc import Callable, Generator, Mapping
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from greenprobe.dns.asker import Asker, AskOptions
from greenprobe.dns.chain import follow
from greenprobe.dns.deferred import make_question
from greenprobe.dns.once import Once
from greenprobe.dns.servers import Server
from greenprobe.dns.udp import Crowd
from greenprobe.dns.wire import CHECKING_DISABLED, RECURSION_DESIRED, Question, Reply
from greenprobe.engine.namelist import NameList, Subject
from greenprobe.engine.resolveplan import ResolvePlan, ResolveRecord, ResolveStatistics, Said
from greenprobe.engine.workers import Workers
from greenprobe.errors import DnsFormError
from greenprobe.hub import Hub

if TYPE_CHECKING:  # it takes dnspython
    from greenprobe.dns.dnssec import AskSigned, Judgement, Validator

__all__ = ["AskOne", "Resolving", "asking", "judged"]

ANSWERED = frozenset({"NOERROR", "NXDOMAIN"})

# A name and a type in; what came of it out.
AskOne = Callable[[str, str], Said]

new_record: Callable[..., ResolveRecord] = partial(tuple.__new__, ResolveRecord)
new_said: Callable[..., Said] = partial(tuple.__new__, Said)


def options_of(plan: ResolvePlan) -> AskOptions:
    """Return how a plan has servers asked."""
    tries = plan.retries + 1
    return AskOptions(
        timeout=plan.timeout,
        attempts=ceil(tries / min(tries, len(plan.servers))),
        use_tcp=plan.uses_tcp,
        dnssec=plan.dnssec,
        mixes_case=plan.mixes_case,
        rotate=True,
        flags=RECURSION_DESIRED | (CHECKING_DISABLED if plan.dnssec else 0),
        most_servers=tries,
    )


def asking(
    hub: Hub, plan: ResolvePlan, asker: Asker, validator_of: "Callable[[AskSigned], Validator] | None" = None
) -> AskOne:
    """Return what asks one question of the plan's servers, another one first each time. Raises ValueError.

    `validator_of` makes what judges the answers of what asks for keys; None checks no signatures.
    """
    options = options_of(plan)
    clock, servers, ask = hub.clock, plan.servers, asker.ask

    def ask_signed(name: str, kind: str) -> Reply | None:
        return ask(make_question(name, kind), servers, options).reply

    validator = validator_of(Once(ask_signed)) if validator_of is not None else None
    labels: dict[Server | None, str | None] = {None: None, **{server: str(server) for server in servers}}

    def ask_one(name: str, kind: str) -> Said:
        began = clock()
        question = make_question(name, kind)
        status, reply, server, protocol, tries, complaints = ask(question, servers, options)
        elapsed = clock() - began
        if reply is None:
            reason = ", ".join(dict.fromkeys(map(str, complaints)))
            return Said(kind, status, (), labels[server], None, tries, elapsed, reason)
        answer = reply.answer
        said = new_said((kind, status, answer, labels[server], protocol, tries, elapsed, None, None, ()))
        if validator is not None:
            return judged(said, validator.judge(question, reply))
        is_plain = not answer or (len(answer) == 1 and answer[0].type == kind)
        if not is_plain and (circle := circle_in(question, reply)) is not None:
            return said._replace(status="MALFORMED", answers=(), reason=f"{server}: {circle}")
        return said

    return ask_one


def circle_in(question: Question, reply: Reply) -> str | None:
    """Say that the aliases of a reply go in a circle, if they do: then it is no answer, though it looks like one."""
    try:
        follow(question, reply)
    except DnsFormError as error:
        return str(error)
    return None


def judged(said: Said, judgement: "Judgement") -> Said:
    """Return an answer with what DNSSEC says of it, its signatures left out; one that is bogus has no records."""
    if judgement.state == "bogus":
        return said._replace(status="BOGUS", answers=(), reason=f"{said.server}: {judgement.reason}")
    answers = tuple(record for record in said.answers if record.type != "RRSIG" or said.type == "RRSIG")
    return said._replace(answers=answers, is_authentic=judgement.state == "secure")


class Resolving:
    """Runs one plan over one list. Iterate over `run()`; look at `statistics()` meanwhile.

    `ask_one` raises ValueError for what is no name; `is_wildcard` tells whether an answer is that of every name there.
    """

    def __init__(
        self,
        hub: Hub,
        plan: ResolvePlan,
        names: NameList,
        ask_one: AskOne,
        *,
        counts: Callable[[], tuple[int, int]] = lambda: (0, 0),
        crowd: Crowd | None = None,
        is_wildcard: Callable[[str, Said], bool] | None = None,
    ) -> None:
        """`counts` says how many queries were sent, and how many timed out; `crowd` who stands in line for a server."""
        self._crowd = crowd if crowd is not None else Crowd()
        self._hub = hub
        self._most = plan.concurrency
        self._types = plan.types
        self._names = names
        self._ask_one = ask_one
        self._counts = counts
        self._is_wildcard = is_wildcard
        self._workers: Workers[ResolveRecord] = Workers(hub, self._take_names)
        self._idle = 0
        self._taken = self._done = 0
        self._by_status: dict[str, int] = {}
        self._began = hub.clock()

    def run(self) -> Generator[list[ResolveRecord], None, None]:
        """Yield records, some at a time, as they are completed.

        KeyboardInterrupt stops everything; what was completed before is yielded before it is raised again.
        """
        yield from self._workers.batches()

    def statistics(self) -> ResolveStatistics:
        """Return how far the run is."""
        lines = self._names.lines
        queries, timeouts = self._counts()
        answered = sum(self._by_status.get(status, 0) for status in ANSWERED)
        return ResolveStatistics(
            self._taken,
            self._done,
            dict(self._by_status),
            queries,
            timeouts,
            self._hub.clock() - self._began,
            lines.read_bytes,
            lines.size_bytes,
            self._done - answered,
        )

    # -- workers

    def _take_names(self) -> None:
        """Take names until there are no more."""
        while self._workers.crash is None and (subject := self._take()) is not None:
            self._note(self._resolve(subject))

    def _take(self) -> Subject | None:
        self._idle += 1
        try:
            subject = self._names.take()
        finally:
            self._idle -= 1
        if subject is None:
            return None
        self._taken += 1
        is_wanted = not (self._idle or self._crowd.waiting) and self._names.has_more_at_hand
        if is_wanted and len(self._workers.crew) < self._most:
            self._workers.start()
        return subject

    def _resolve(self, subject: Subject) -> ResolveRecord:
        """Ask for all types of a name, one after the other: it is other names that are asked at the same time."""
        line, text, name, is_address, fault = subject
        if fault:
            return ResolveRecord(line, text, "BADNAME", (), fault, None)
        try:
            said = tuple([self._ask_one(name, kind) for kind in (REVERSE if is_address else self._types)])
        except ValueError as exc:
            return ResolveRecord(line, text, "BADNAME", (), str(exc), None)
        worst = said[0] if len(said) == 1 else max(said, key=badness)
        is_wildcard = None
        if self._is_wildcard is not None and not is_address:
            is_wildcard = any(each.answers and self._is_wildcard(name, each) for each in said)
        return new_record((line, text, worst.status, said, worst.reason, is_wildcard))

    def _note(self, record: ResolveRecord) -> None:
        """Count a record and hand it over; wait if the consumer is too far behind."""
        self._done += 1
        status = record.status
        self._by_status[status] = self._by_status.get(status, 0) + 1
        self._workers.hand_over(record)


REVERSE = ("PTR",)
BADNESS: Mapping[str, int] = {"NOERROR": 0, "NXDOMAIN": 1}


def badness(said: Said) -> int:
    """Return what to compare the types of a name by: its status is the worst of theirs."""
    return BADNESS.get(said.status, 2)
