"""Asking from the root: server after server, each of which knows who knows more, until one knows the answer.

What was learned about zones on the way is remembered for its TTL, for all names of a run: the root is not asked a
hundred thousand times; nor by a thousand at once, as who would ask the way that somebody asks already waits for that.
Which step a reply is, `referral.py` decides.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from greenprobe.dns.asker import Asker, AskOptions
from greenprobe.dns.chain import follow
from greenprobe.dns.deferred import make_question
from greenprobe.dns.once import Once
from greenprobe.dns.ordering import source_of
from greenprobe.dns.resolution import Complaint, Result
from greenprobe.dns.servers import Server
from greenprobe.dns.wire import AUTHORITATIVE, Question, Record, Reply
from greenprobe.engine.referral import Referral, is_below, referral_in
from greenprobe.engine.resolveplan import ResolvePlan, Said, Step
from greenprobe.engine.resolving import judged
from greenprobe.errors import DnsFormError
from greenprobe.hub import Hub
from greenprobe.sync import Event

if TYPE_CHECKING:  # it takes dnspython
    from greenprobe.dns.dnssec import AskSigned, Judgement, Validator

__all__ = ["Tracer"]

MAX_ALIASES: Final = 10
MAX_REFERRALS: Final = 30  # for one name
MAX_DEPTH: Final = 4  # servers whose names have to be traced, whose servers' names have to be traced, ...
MAX_SERVERS: Final = 4  # of a zone
MAX_ZONES: Final = 100_000


class Known(NamedTuple):
    """The servers of a zone, and until when that holds."""

    servers: tuple[Server, ...]
    until: float


class Tracer:
    """Traces questions; call it with a name and a type. Any number of greenthreads may."""

    def __init__(
        self,
        hub: Hub,
        plan: ResolvePlan,
        asker: Asker,
        validator_of: "Callable[[AskSigned], Validator] | None" = None,
    ) -> None:
        """`validator_of` makes what judges the answers of what asks for keys; None checks no signatures."""
        self._clock = hub.clock
        self._asker = asker
        self._roots = plan.servers
        self._port = plan.port
        self._zones: dict[str, Known] = {}
        self._under_way: dict[str, Event] = {}  # zones that somebody is being referred to
        self._validator = validator_of(Once(self._ask_signed)) if validator_of is not None else None
        self._options = AskOptions(
            timeout=plan.timeout,
            attempts=max(1, (plan.retries + 1) // MAX_SERVERS),
            use_tcp=plan.uses_tcp,
            dnssec=plan.dnssec,
            mixes_case=plan.mixes_case,
            rotate=True,
            flags=0,
            accepts_referrals=True,
        )

    def __call__(self, name: str, kind: str) -> Said:
        """Trace a name. Raises ValueError if it is none."""
        return self._trace(make_question(name, kind), 0)

    def _ask_signed(self, name: str, kind: str) -> Reply | None:
        """Trace what the validator needs."""
        return self._descend(make_question(name, kind), [], 1).reply

    def _trace(self, question: Question, depth: int) -> Said:
        began = self._clock()
        steps: list[Step] = []
        answers: list[Record] = []
        judgements: list[Judgement] = []
        asked = question
        for _ in range(MAX_ALIASES):
            result = self._descend(asked, steps, depth)
            if result.reply is None:
                break
            answers += result.reply.answer
            if self._validator is not None and not depth:
                judgements.append(self._validator.judge(asked, result.reply))
            try:
                chain = follow(asked, result.reply)
            except DnsFormError as error:
                result = failure("MALFORMED", result.server, str(error))
                break
            if not chain.ends_short:
                break
            asked = make_question(chain.canonical, question.type)
        reason = ", ".join(str(each) for each in result.complaints) if result.reply is None else None
        said = Said(
            question.type,
            result.status,
            tuple(dict.fromkeys(answers)),
            None if result.server is None else str(result.server),
            result.protocol or None,
            sum(not step.is_cached for step in steps),
            self._clock() - began,
            reason,
            None,
            tuple(steps),
        )
        return judged(said, weakest(judgements)) if judgements and result.reply is not None else said

    def _descend(self, question: Question, steps: list[Step], depth: int) -> Result:
        """Ask from the nearest zone that is known down to who answers; note the steps."""
        zone, servers = self._nearest(question, ".", steps)
        waited_for = ""
        for _ in range(MAX_REFERRALS):
            cut = cut_below(zone, question.name.lower()) if not depth else ""
            under_way = self._under_way.get(cut) if cut != waited_for else None
            if under_way is not None:
                waited_for = cut
                under_way.wait()
                zone, servers = self._nearest(question, zone, steps)
                continue
            with self._looking_for(cut):
                began = self._clock()
                result = self._asker.ask(question, servers, self._options)
                referral = referral_in(result.reply, question.name, zone) if result.reply is not None else None
                led_to = referral.zone if referral is not None else ""
                server = "" if result.server is None else str(result.server)
                steps.append(Step(zone, server, result.status, led_to, self._clock() - began, False))
                if referral is None:
                    return result if result.reply is None or is_answered(result) else lame(result)
                zone, servers = referral.zone, self._servers_of(referral, depth)
            if not servers:
                names = ", ".join(referral.names[:MAX_SERVERS])
                return failure("LAME", None, f"no server of {zone} has an address ({names})")
        return failure("LAME", result.server, f"more than {MAX_REFERRALS} referrals")

    @contextmanager
    def _looking_for(self, cut: str) -> Iterator[None]:
        """Have others wait, for the block, who would ask the same servers the way to `cut`; "" is none.

        Only those who trace a name of the list wait, and once: a search for the address of a server waits for nobody,
        or two such searches could wait for each other.
        """
        if not cut or cut in self._under_way:
            yield
            return
        done = self._under_way[cut] = Event()
        try:
            yield
        finally:
            del self._under_way[cut]
            done.set()

    def _nearest(self, question: Question, above: str, steps: list[Step]) -> tuple[str, Sequence[Server]]:
        """Return the zone nearest to a name whose servers are known, and note if it is below `above`.

        Of a DS record, it is the zone above its name that knows. Source: RFC 4035, section 3.1.4.1.
        """
        now = self._clock()
        zone = question.name.lower()
        if question.type == "DS":
            zone = zone.partition(".")[2]
        while zone and zone != ".":
            known = self._zones.get(zone)
            if known is not None and now < known.until:
                break
            zone = zone.partition(".")[2]
        else:
            return ".", self._roots
        if zone != above:
            steps.append(Step(above, "", "NOERROR", zone, 0.0, True))
        return zone, known.servers

    def _servers_of(self, referral: Referral, depth: int) -> tuple[Server, ...]:
        """Return the servers of a zone below, and remember them; none if their names lead nowhere."""
        addresses = [address for name in referral.names for address in referral.glue.get(name, ())]
        usable = reachable(addresses)
        if not usable and depth < MAX_DEPTH:
            usable = self._find(referral, depth)
        servers = tuple(Server(address, self._port) for address in usable[:MAX_SERVERS])
        if servers:
            if len(self._zones) >= MAX_ZONES:
                self._zones.clear()
            self._zones[referral.zone] = Known(servers, self._clock() + referral.ttl)
        return servers

    def _find(self, referral: Referral, depth: int) -> list[str]:
        """Trace the names of a zone's servers until one has an address."""
        for name in referral.names[:MAX_SERVERS]:
            if is_below(name, referral.zone):
                continue  # only that zone could tell, and it is the one whose servers we look for
            said = self._trace(make_question(name, "A"), depth + 1)
            found = [record.data for record in said.answers if record.type == "A"]
            if found:
                return found
        return []


def cut_below(zone: str, name: str) -> str:
    """Return the name below a zone that may be the next zone on the way to `name`; "" if that is `name` itself."""
    inside = name if zone == "." else name[: -len(zone)]
    label = inside.rstrip(".").rpartition(".")[2]
    cut = f"{label}." if zone == "." else f"{label}.{zone}"
    return cut if cut != name else ""


def weakest(judgements: "Sequence[Judgement]") -> "Judgement":
    """Return what several judgements come to: a chain is as good as the worst of its links."""
    return min(judgements, key=lambda judgement: STATES.index(judgement.state))


STATES: Final = ("bogus", "insecure", "secure")


def reachable(addresses: Sequence[str]) -> list[str]:
    """Return the IPv4 addresses; if there are none, those of IPv6 that a route leads to."""
    ipv4 = [address for address in addresses if ":" not in address]
    return ipv4 or [address for address in addresses if source_of(address) is not None]


def is_answered(result: Result) -> bool:
    """Tell whether a reply is an answer, be it that there is none."""
    reply = result.reply
    return reply is not None and (bool(reply.answer) or result.status != "NOERROR" or bool(reply.flags & AUTHORITATIVE))


def lame(result: Result) -> Result:
    """Return what to make of a server that neither answers nor leads down."""
    return failure("LAME", result.server, "it neither answers nor refers to a zone below")


def failure(status: str, server: Server | None, detail: str) -> Result:
    """Return a result without a reply."""
    return Result(status, None, server, "", 0, (Complaint(server or Server("none"), status, detail),))
