"""The resolver: facts about names, asked once for many, remembered while they hold.

`look_up` gives the data of one name and type, by cache, or by joining a flight, or by asking. `find` turns a host into
addresses as a system resolver does: hosts file, then the search list, A and AAAA asked together. `name_of` goes the
other way. How servers are asked is `asker.py`'s, what a fact is `facts.py`'s, what the standard library's functions
make of it `family.py`'s.

A question belongs to none of those who wait for it (it is settled by the reader of its first reply, or goes on in a
greenthread of the crew), so that an asker who is killed, or has no more time, spoils nothing for the others. One
resolver may be used from several OS threads; each thread's hub has its own sockets, the cache is everybody's.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from itertools import product
from socket import AF_INET, AF_INET6, AF_UNSPEC
from ssl import SSLContext, create_default_context
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

from greenlet import GreenletExit

from greenprobe.dns.asker import Asker, AskOptions, First, MakeExchange
from greenprobe.dns.cache import Cache
from greenprobe.dns.chain import MAX_ALIASES, follow
from greenprobe.dns.conf import ResolvConf, candidates, parse_resolv_conf
from greenprobe.dns.crew import Crew
from greenprobe.dns.deferred import make_question
from greenprobe.dns.facts import (
    Fact,
    Found,
    complaints,
    emptiness,
    is_said_authentic,
    merged,
    of_hosts,
    plain_fact,
    worst,
)
from greenprobe.dns.hosts import Hosts, parse_hosts
from greenprobe.dns.once import Once
from greenprobe.dns.servers import Book, Server, parse_servers
from greenprobe.dns.watched import Watched
from greenprobe.dns.wire import AUTHENTIC, CHECKING_DISABLED, NOERROR, RECURSION_DESIRED, Question, Reply
from greenprobe.errors import DnsFormError, TargetError
from greenprobe.hub import Hub, get_hub
from greenprobe.lazy import Lazy
from greenprobe.outcome import AsyncResult, Outcome
from greenprobe.sync import Event

if TYPE_CHECKING:
    from greenprobe.dns.dnssec import Validator

__all__ = ["Resolver"]

dnssec = Lazy("greenprobe.dns.dnssec")  # takes dnspython and cryptography

Flight = tuple[Hub, str, str]  # a hub, and a key of the cache
KINDS: Final = {AF_INET: ("A",), AF_INET6: ("AAAA",), AF_UNSPEC: ("A", "AAAA")}
HAS_OTHERS: Final = frozenset({"NODATA", "DANGLING"})  # there may be addresses of the other family
SPOKEN: Final = frozenset({"NOERROR", "NXDOMAIN"})


class Tools(NamedTuple):
    """What a resolver has for each hub. Without a validator nothing is checked."""

    asker: Asker
    crew: Crew
    validator: "Validator | None"


class Resolver:
    """Asks name servers. Everything it reads of the system may be given instead.

    `servers` are written as in `servers.py`; None takes those of `conf_path`. `conf` None reads and watches that file.
    `cache` may have its own bounds. `exchanges` adds protocols, see `asker.py`. `clock` returns seconds. `validates`
    checks everything by DNSSEC, from `anchors` down (DS records of the root; None: those that IANA publishes).
    Raises TargetError for servers that are none, or no server at all.
    """

    def __init__(
        self,
        servers: Sequence[str | Server] | None = None,
        *,
        conf: ResolvConf | None = None,
        conf_path: str = "/etc/resolv.conf",
        hosts_path: str = "/etc/hosts",
        cache: Cache[Fact] | None = None,
        mixes_case: bool = False,
        validates: bool = False,
        anchors: Sequence[str] | None = None,
        exchanges: Mapping[str, MakeExchange] = {},
        trust: Callable[[], SSLContext] = create_default_context,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.clock = clock
        self.cache: Cache[Fact] = cache if cache is not None else Cache()
        self._servers = as_servers(servers)
        self._given_conf = conf
        self._conf_file = Watched(conf_path, parse_resolv_conf)
        self._conf: ResolvConf | None = None
        self._hosts_file = Watched(hosts_path, parse_hosts)
        self._mixes_case = mixes_case
        self._validates = validates
        self._anchors = anchors
        self._exchanges = exchanges
        self._trust = trust
        self._book = Book()
        self._options = AskOptions()
        self._tools: dict[Hub, Tools] = {}
        self._flights: dict[Flight, AsyncResult[Fact]] = {}  # a hub has its own

    # -- what the system says

    @property
    def conf(self) -> ResolvConf:
        """The configuration, read again if its file has changed: then what was learned before is forgotten."""
        conf = self._given_conf or self._conf_file.current()
        if conf is not self._conf:
            if self._conf is not None:
                self.cache.clear()
            self._conf = conf
            self._options = options_of(conf, mixes_case=self._mixes_case, dnssec=self._validates)
        return conf

    @property
    def hosts(self) -> Hosts:
        """The hosts file, read again if it has changed."""
        return self._hosts_file.current()

    @property
    def servers(self) -> Sequence[Server]:
        """Who is asked."""
        conf = self.conf
        return self._servers if self._servers is not None else conf.servers

    def close(self) -> None:
        """End what the current hub has under way, and the connections that it keeps to servers."""
        hub = get_hub()
        tools = self._tools.get(hub)
        if tools is not None:
            self._forget(hub)
            tools.crew.close()
            tools.asker.close()

    def _forget(self, hub: Hub) -> None:
        """Keep nothing of a hub; questions that it has under way are nobody's to join any more."""
        self._tools.pop(hub, None)
        for flight in [each for each in list(self._flights) if each[0] is hub]:
            self._flights.pop(flight, None)

    # -- one name, one type

    def look_up(self, name: str, kind: str, timeout: float | None = None) -> Fact:
        """Return what is known of a full name (its final dot optional) and a type such as "MX"; ask if need be.

        Raises ValueError if it is no name, TimeoutError after `timeout` seconds.
        """
        key = (name.lower().removesuffix("."), kind)
        servers = self.servers
        known = self.cache.get(key, self.clock())
        if known is not None:
            return known[1]
        try:
            return self._flight(*key, servers).wait(timeout)
        except TimeoutError:
            raise TimeoutError(f"no answer for {name} {kind} in {timeout:g} s") from None

    def _flight(self, name: str, kind: str, servers: Sequence[Server]) -> AsyncResult[Fact]:
        """Return the question under way, one that begins now if there is none."""
        flight = (get_hub(), name, kind)
        outcome = self._flights.get(flight)
        if outcome is None:
            tools = self._tools.get(flight[0]) or self._new_tools(flight[0])
            question = make_question(name, kind)
            outcome = AsyncResult()
            land = partial(self._land, tools, flight, question, servers, outcome)
            if tools.validator is not None or not tools.asker.begin(question, servers, self._options, land):
                tools.crew.run_into(outcome, self._fly, tools, flight, question, servers, None)
            self._flights[flight] = outcome
        return outcome

    def _land(
        self, tools: Tools, flight: Flight, question: Question, servers: Sequence[Server], outcome: AsyncResult[Fact],
        first: First,
    ) -> None:  # fmt: skip
        """Take what the first try of a question brought: a fact, or work for a greenthread."""
        if isinstance(first.came, GreenletExit):
            self._flights.pop(flight, None)
            outcome.set_exception(first.came)
        elif first.result is not None and (fact := plain_fact(question, first.result)) is not None:
            self._flights.pop(flight, None)
            if self._options.flags & AUTHENTIC:
                fact = fact._replace(is_authentic=is_said_authentic(first.result.reply))
            self._learn(flight, fact)
            outcome.set(fact)
        else:
            tools.crew.run_into(outcome, self._fly, tools, flight, question, servers, first)

    def _fly(
        self, tools: Tools, flight: Flight, question: Question, servers: Sequence[Server], first: First | None
    ) -> Fact:
        try:
            fact = self._ask(tools, question, servers, first)
            if fact.status in SPOKEN:
                self._learn(flight, fact)
                return fact
            return self.cache.revive(flight[1:], self.clock()) or fact
        finally:
            self._flights.pop(flight, None)

    def _learn(self, flight: Flight, fact: Fact) -> None:
        """Remember what servers have said."""
        self.cache.put(flight[1:], fact, fact.ttl, self.clock(), is_negative=not fact.data)

    def _ask(self, tools: Tools, question: Question, servers: Sequence[Server], first: First | None) -> Fact:
        """Ask servers, through as many aliases as it takes."""
        aliases: list[str] = []
        ttl = float("inf")
        is_authentic: bool | None = None
        while len(aliases) <= MAX_ALIASES:
            result = tools.asker.ask(question, servers, self._options, first)
            first = None
            if result.reply is None:
                return Fact(result.status, (), question.name, tuple(aliases), 0, complaints(result))
            if tools.validator is not None:
                judgement = tools.validator.judge(question, result.reply)
                if judgement.state == "bogus":
                    return Fact("BOGUS", (), question.name, (), 0, f"{result.server}: {judgement.reason}")
                is_authentic = is_authentic is not False and judgement.state == "secure"
            elif self._options.flags & AUTHENTIC:
                is_authentic = is_authentic is not False and is_said_authentic(result.reply)
            try:
                chain = follow(question, result.reply)
            except DnsFormError as error:
                return Fact("MALFORMED", (), question.name, (), 0, f"{result.server}: {error}")
            aliases += chain.aliases
            ttl = min(ttl, chain.ttl)
            if not chain.ends_short:
                data = chain.data if result.reply.rcode == NOERROR else ()
                reason = f"{result.server}: {result.status}"
                return Fact(result.status, data, chain.canonical, tuple(aliases), ttl, reason, is_authentic)
            question = make_question(chain.canonical, question.type)
        return Fact("MALFORMED", (), question.name, (), 0, f"more than {MAX_ALIASES} aliases")

    def _new_tools(self, hub: Hub) -> Tools:
        """Return what a hub needs that has had no question yet; forget those of closed hubs."""
        for gone in [other for other in list(self._tools) if other.closed]:
            self._forget(gone)
        asker = Asker(hub, book=self._book, exchanges=self._exchanges, trust=self._trust)
        validator = None
        if self._validates:
            ask = Once(partial(self._ask_signed, asker))
            validator = dnssec.Validator(ask, anchors=self._anchors or dnssec.ROOT_ANCHORS)
        tools = self._tools[hub] = Tools(asker, Crew(hub), validator)
        return tools

    def _ask_signed(self, asker: Asker, name: str, kind: str) -> Reply | None:
        """Ask for what a validator needs."""
        return asker.ask(make_question(name, kind), self.servers, self._options).reply

    # -- hosts and addresses

    def find(
        self,
        host: str,
        family: int = AF_UNSPEC,
        *,
        timeout: float | None = None,
        delay: float | None = None,
        first: int = AF_UNSPEC,
    ) -> Found:
        """Return the addresses of an ASCII host: of the hosts file, else of DNS, through the search list.

        `delay` is how long to wait for the other family once one has addresses (RFC 8305, section 3); None waits for
        both, as libc does. If `first` is one of two families, DNS is asked for the other only where that has nothing.
        Raises ValueError if it is no name, TimeoutError after `timeout` seconds.
        """
        conf = self.conf
        lines = self.hosts.find(host, family)
        if lines:
            return of_hosts(lines, self.clock())
        servers = self._servers if self._servers is not None else conf.servers
        rounds = rounds_of(AF_INET if conf.no_aaaa and family == AF_UNSPEC else family, first)
        deadline = None if timeout is None else self.clock() + timeout
        try:
            return self._search(host, conf, servers, rounds, deadline, delay)
        except TimeoutError:
            raise TimeoutError(f"no answer for {host} in {timeout:g} s") from None

    def _search(
        self,
        host: str,
        conf: ResolvConf,
        servers: Sequence[Server],
        rounds: Sequence[Sequence[str]],
        deadline: float | None,
        delay: float | None,
    ) -> Found:
        """Ask for the names that a host may stand for, until one of them has addresses."""
        found: list[Found] = []
        for name, kinds in product(candidates(host, conf), rounds):
            if kinds is not rounds[0] and found[-1].status not in HAS_OTHERS:
                continue
            found.append(self._find_both(name, kinds, servers, deadline, delay, one_by_one=conf.one_by_one))
            if found[-1].status == "NOERROR":
                return found[-1]
        return worst(found) if found else Found("NXDOMAIN", host, (), (), "not asked", self.clock())

    def _find_both(
        self,
        name: str,
        kinds: Sequence[str],
        servers: Sequence[Server],
        deadline: float | None,
        delay: float | None,
        *,
        one_by_one: bool,
    ) -> Found:
        """Ask for all kinds of addresses at once."""
        now = self.clock()
        key = name.lower().removesuffix(".")
        known = {kind: entry for kind in kinds if (entry := self.cache.get((key, kind), now)) is not None}
        facts = {kind: fact for kind, (_, fact) in known.items()}
        flights: dict[str, Outcome[Fact]] = {}
        for kind in kinds:
            if kind not in facts:
                flights[kind] = self._flight(key, kind, servers)
                if one_by_one:
                    flights[kind].join(left(deadline, self.clock()))
        gather(flights, facts, deadline, delay, self.clock)
        ends = [end for end, _ in known.values()] + [now + facts[kind].ttl for kind in flights if kind in facts]
        return merged(name, [facts[kind] for kind in kinds if kind in facts], min(ends, default=now))

    def name_of(self, address: str, timeout: float | None = None) -> Found:
        """Return the name of a numeric address without a scope: of the hosts file, else its PTR records.

        Raises TimeoutError after `timeout` seconds.
        """
        line = self.hosts.name_of(address)
        if line is not None:
            return of_hosts([line], self.clock())
        fact = self.look_up(ip_address(address).reverse_pointer, "PTR", timeout)
        names = tuple(name.removesuffix(".") for name in fact.data)
        status = fact.status if names else emptiness(fact)
        return Found(status, names[0] if names else "", (), (address,), fact.reason, self.clock())


def gather(
    flights: Mapping[str, Outcome[Fact]],
    facts: dict[str, Fact],
    deadline: float | None,
    delay: float | None,
    clock: Callable[[], float],
) -> None:
    """Wait for all flights and add what they find to `facts`; for `delay` only, once there is an address."""
    if delay is not None and len(flights) > 1:
        gather_some(dict(flights), facts, deadline, delay, clock)
        return
    for kind, flight in flights.items():
        facts[kind] = flight.wait(left(deadline, clock()))


def gather_some(
    waiting: dict[str, Outcome[Fact]],
    facts: dict[str, Fact],
    deadline: float | None,
    delay: float,
    clock: Callable[[], float],
) -> None:
    """Wait until one flight has brought an address, and then `delay` seconds for the rest."""
    bell = Event()
    for flight in waiting.values():
        flight.link(lambda _: bell.set())
    while waiting:
        for kind in [kind for kind, flight in waiting.items() if flight.ready()]:
            facts[kind] = waiting.pop(kind).wait()
        if not waiting:
            return
        bell.clear()
        has_some = any(fact.data for fact in facts.values())
        patience = left(deadline, clock())
        if has_some:
            patience = delay if patience is None else min(patience, delay)
        if not bell.wait(patience):
            if has_some:
                return
            raise TimeoutError


# -- decisions


def rounds_of(family: int, first: int) -> Sequence[Sequence[str]]:
    """Return the types to ask for together, one round after the other."""
    kinds: Sequence[str] = KINDS[family]  # type: ignore[index]
    if first == AF_UNSPEC or len(kinds) < 2:
        return [kinds]
    return [KINDS[AF_INET], KINDS[AF_INET6]] if first == AF_INET else [KINDS[AF_INET6], KINDS[AF_INET]]


def as_servers(given: Sequence[str | Server] | None) -> list[Server] | None:
    """Return servers that were given as text, or as they are."""
    if given is None:
        return None
    if not given:
        raise TargetError("no name server is given; name one, or leave it to resolv.conf (None)")
    return [server for each in given for server in ([each] if isinstance(each, Server) else parse_servers([each]))]


def options_of(conf: ResolvConf, *, mixes_case: bool, dnssec: bool) -> AskOptions:
    """Return how to ask, as a configuration has it."""
    flags = RECURSION_DESIRED | (AUTHENTIC if conf.trust_ad else 0) | (CHECKING_DISABLED if dnssec else 0)
    return AskOptions(
        timeout=conf.timeout,
        attempts=conf.attempts,
        use_tcp=conf.use_tcp,
        rotate=conf.rotate,
        mixes_case=mixes_case,
        dnssec=dnssec,
        flags=flags,
    )


def left(deadline: float | None, now: float) -> float | None:
    """Return the seconds until `deadline`."""
    return None if deadline is None else max(deadline - now, 0.0)
