"""The scanner: on a scripted network, where every failure can be had, and on real loopback sockets."""

import errno
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from random import Random
from socket import create_server
from typing import Any

import pytest
from greenlet import getcurrent

from greenprobe.engine.connector import SELF_CONNECT
from greenprobe.engine.conntrack import TRICKLE, Tracking
from greenprobe.engine.ports import parse_ports
from greenprobe.engine.scanner import Scanner
from greenprobe.engine.scanplan import ScanPlan, ScanRecord
from greenprobe.engine.shortage import PATIENCE
from greenprobe.engine.targets import Targets, parse_hosts
from greenprobe.engine.verdicts import Icmp
from greenprobe.errors import ScanStalled
from greenprobe.greenthread import kill, spawn_n
from greenprobe.hub import Hub, get_hub
from greenprobe.testing import JumpClock

REFUSED = errno.ECONNREFUSED
SILENT = -100
NEVER = float("inf")


def plan_of(
    hosts: str, ports: str, *, concurrency: int = 50, timeout: float = 1.0, retries: int = 5, seed: int = 1
) -> ScanPlan:
    targets = Targets(parse_hosts(hosts.split(), lambda name: [name]), parse_ports(ports), seed=seed)
    return ScanPlan(targets=targets, concurrency=concurrency, timeout=timeout, retries=retries)


class Network:
    """A network of scripted ports: `answers[port]` is what each try of it ends with, the last for ever.

    An answer is an errno (0: open), SILENT, SELF_CONNECT, or an Icmp. `rtt` is when it comes: 0 is at once, inside the
    call. `descriptors` bounds how many sockets there are. `carries` may lose a probe: it is asked at each try.
    """

    def __init__(self, *, rtt: float = 0.0, descriptors: int = 1 << 20) -> None:
        self.answers: defaultdict[int, list[int | Icmp]] = defaultdict(lambda: [REFUSED])
        self.rtt = rtt
        self.descriptors = descriptors
        self.kernel_rtt = 0.0
        self.sockets = 0
        self.most = 0
        self.insisted = 0
        self.asked: Counter[int] = Counter()
        self.order: list[int] = []
        self.on_ask: Callable[[int], object] = lambda port: None
        self.passes: Callable[[int], bool] = lambda port: True
        self.delay: Callable[[float], float] = lambda now: self.rtt
        self.silent_hosts: set[str] = set()
        self.delay_of: dict[str, float] = {}
        self.paths: dict[str, Callable[[float], float]] = {}

    def asker(self, hub: Hub) -> "ScriptedAsker":
        return ScriptedAsker(self, hub)


class ScriptedAsker:
    """An `Asker` that asks a `Network`."""

    def __init__(self, network: Network, hub: Hub) -> None:
        self.network = network
        self.hub = hub
        self.icmp: Icmp | None = None
        self.said = b""
        self.rtt = network.kernel_rtt
        self.answer: int | Icmp = 0
        self.arrives = 0.0
        self.has_socket = False

    def start(self, family: int, sockaddr: tuple[Any, ...], *, is_near: bool) -> int:
        network, port = self.network, sockaddr[1]
        if not self.has_socket:
            if network.sockets >= network.descriptors:
                raise OSError(errno.EMFILE, "Too many open files")
            self.has_socket = True
            network.sockets += 1
            network.most = max(network.most, network.sockets)
        script = network.answers[port]
        self.answer = script[min(network.asked[port], len(script) - 1)]
        network.asked[port] += 1
        network.order.append(port)
        network.on_ask(port)
        self.icmp = None
        host = sockaddr[0]
        delay = network.paths.get(host, network.delay)(self.hub.clock())
        delay = network.delay_of.get(host, delay)
        if host in network.silent_hosts or not network.passes(port):
            self.answer = SILENT
        if self.answer == SILENT or delay > 0:
            self.arrives = NEVER if self.answer == SILENT else self.hub.clock() + delay
            return errno.EINPROGRESS
        return self.end()

    def wait(self, deadline: float) -> int:
        self.hub.sleep_until(min(deadline, self.arrives))
        return errno.EALREADY if deadline < self.arrives else self.end()

    def insist(self, deadline: float) -> int:
        self.network.insisted += 1
        return self.wait(deadline)

    def end(self) -> int:
        code = self.answer
        if isinstance(code, Icmp):
            self.icmp, code = code, code.errno
        if code != REFUSED or self.icmp is not None:
            self.close()
        return code

    def close(self) -> None:
        self.network.sockets -= self.has_socket
        self.has_socket = False


def scan(network: Network, plan: ScanPlan, *, routed: bool = True) -> dict[int, ScanRecord]:
    """Run the plan on the network and return the records by port; each port has to come once."""
    scanner = Scanner(plan, asker=network.asker, routed=lambda family, sockaddr: routed)
    records = list(scanner.run())
    found = {record.port: record for record in records}
    assert len(found) == len(records) == plan.targets.count == scanner.statistics().done
    assert network.sockets == 0
    return found


def states(found: dict[int, ScanRecord]) -> dict[int, tuple[str, str]]:
    return {port: (record.state, record.reason) for port, record in found.items()}


@pytest.fixture
def network() -> Network:
    return Network()


def test_each_answer_gives_its_state_and_reason(network: Network, clock: JumpClock) -> None:
    network.answers[1] = [0]
    network.answers[2] = [REFUSED]
    network.answers[3] = [SILENT]
    network.answers[4] = [Icmp(4, 3, 3, REFUSED, "192.0.2.1")]
    network.answers[5] = [Icmp(4, 3, 13, errno.EHOSTUNREACH, "192.0.2.1")]
    network.answers[6] = [errno.ENETUNREACH]
    network.answers[7] = [errno.EINVAL]
    assert states(scan(network, plan_of("127.0.0.1", "1-7"))) == {
        1: ("open", "syn-ack"),
        2: ("closed", "reset"),
        3: ("filtered", "no-response"),
        4: ("filtered", "port-unreach"),
        5: ("filtered", "admin-prohibited"),
        6: ("filtered", "net-unreach"),
        7: ("unreported", "einval"),
    }


def test_the_sender_of_an_icmp_error_is_kept(network: Network) -> None:
    network.answers[4] = [Icmp(4, 3, 3, REFUSED, "192.0.2.1")]
    found = scan(network, plan_of("127.0.0.1", "4-5"))
    assert (found[4].sender, found[5].sender) == ("192.0.2.1", None)


def test_an_answer_has_a_round_trip_time_and_silence_has_none(network: Network, clock: JumpClock) -> None:
    network.answers[2] = [SILENT]
    found = scan(network, plan_of("127.0.0.1", "1-2"))
    assert found[2].rtt is None
    assert found[1].rtt is not None
    assert found[1].rtt >= 0


def test_a_silent_port_is_asked_again_and_its_late_answer_counts(network: Network, clock: JumpClock) -> None:
    network.answers[9] = [SILENT, SILENT, 0]
    found = scan(network, plan_of("127.0.0.1", "1-9"))
    assert (found[9].state, found[9].tries) == ("open", 3)


def test_without_retries_a_silent_port_is_asked_once(network: Network, clock: JumpClock) -> None:
    network.answers[9] = [SILENT]
    found = scan(network, plan_of("127.0.0.1", "1-9", retries=0))
    assert found[9].tries == network.asked[9] == 1


def test_an_answered_port_is_asked_once(network: Network) -> None:
    scan(network, plan_of("127.0.0.1", "1-300"))
    assert set(network.asked.values()) == {1}


def test_a_self_connect_is_asked_again_and_is_not_open(network: Network) -> None:
    network.answers[5] = [SELF_CONNECT, REFUSED]
    assert scan(network, plan_of("127.0.0.1", "5"))[5].state == "closed"


def test_ports_that_answer_at_once_need_one_worker(network: Network) -> None:
    scan(network, plan_of("127.0.0.1", "1-500"))
    assert network.most == 1


def test_slow_ports_are_asked_side_by_side_up_to_the_concurrency(clock: JumpClock) -> None:
    network = Network(rtt=0.1)
    scan(network, plan_of("127.0.0.1", "1-500", concurrency=20))
    assert network.most == 20
    assert clock.now() == pytest.approx(500 / 20 * 0.1)


def test_waiting_for_silent_ports_takes_no_place_on_the_wire(clock: JumpClock) -> None:
    network = Network(rtt=0.05)
    network.answers.update({port: [SILENT] for port in range(1, 1001)})
    scan(network, plan_of("127.0.0.1", "1-2000", concurrency=4000))
    assert network.most > 500
    assert clock.now() < 5


@pytest.mark.parametrize("code", (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.EAGAIN))
def test_running_out_of_something_is_no_state(network: Network, code: int) -> None:
    network.answers[5] = [code, REFUSED]
    network.answers[6] = [code, code, 0]
    found = scan(network, plan_of("127.0.0.1", "1-9"))
    assert (found[5].state, found[6].state) == ("closed", "open")


def test_few_descriptors_make_the_scan_slower_and_no_port_wrong(clock: JumpClock) -> None:
    network = Network(rtt=0.1, descriptors=7)
    network.answers[50] = [0]
    scanner = Scanner(plan_of("127.0.0.1", "1-200", concurrency=100), asker=network.asker)
    found = {record.port: record.state for record in scanner.run()}
    assert found == {port: "open" if port == 50 else "closed" for port in range(1, 201)}
    assert scanner.statistics().shortages["EMFILE"] > 0
    assert network.most == 7


def test_no_source_address_is_an_unreachable_network_and_no_shortage(network: Network) -> None:
    network.answers[5] = [errno.EADDRNOTAVAIL]
    found = scan(network, plan_of("127.0.0.1", "5"), routed=False)
    assert states(found) == {5: ("filtered", "net-unreach")}


def test_a_shortage_that_never_ends_stops_the_scan_and_says_of_what(network: Network, clock: JumpClock) -> None:
    network.answers[5] = [errno.ENOBUFS]
    with pytest.raises(ScanStalled, match="ENOBUFS"):
        scan(network, plan_of("127.0.0.1", "5"))
    assert clock.now() > PATIENCE


def test_a_shortage_that_ends_in_time_costs_nothing_but_time(network: Network, clock: JumpClock) -> None:
    """As long as TIME_WAIT lasts there may be no local port."""
    network.answers[5] = [*[errno.EADDRNOTAVAIL] * 60, 0]
    assert scan(network, plan_of("127.0.0.1", "5"))[5].state == "open"
    assert 50 < clock.now() < PATIENCE


def test_an_error_of_a_worker_comes_out_of_the_scan(network: Network) -> None:
    def fail(port: int) -> None:
        raise ZeroDivisionError

    network.on_ask = fail
    with pytest.raises(ZeroDivisionError):
        scan(network, plan_of("127.0.0.1", "1-9"))


def test_the_seed_fixes_the_order(network: Network) -> None:
    orders = []
    for seed in (1, 1, 2):
        one = Network()
        scan(one, plan_of("127.0.0.1", "1-100", seed=seed))
        orders.append(one.order)
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != sorted(orders[0])


@pytest.mark.fifo
def test_others_run_while_ports_answer_at_once(network: Network) -> None:
    """A worker that never has to wait must not keep the hub for itself."""
    turns: list[int] = []

    def other() -> None:
        for _ in range(5):
            turns.append(sum(network.asked.values()))
            get_hub().sleep(0)

    spawn_n(other)
    scan(network, plan_of("127.0.0.1", "1-2000"))
    assert len(set(turns)) == 5
    assert turns[-1] < 2000


def test_records_come_while_the_scan_runs(network: Network) -> None:
    records = Scanner(plan_of("127.0.0.1", "1-1000"), asker=network.asker).run()
    next(records)
    assert sum(network.asked.values()) < 1000
    assert len(list(records)) == 999


def test_an_interrupt_gives_what_is_finished_and_ends_the_workers(network: Network, clock: JumpClock) -> None:
    main = getcurrent()
    network.answers.default_factory = lambda: [SILENT]
    network.answers.update({port: [REFUSED] for port in range(1, 500)})

    def interrupt(port: int) -> None:
        if sum(network.asked.values()) == 300:
            kill(main, KeyboardInterrupt())

    network.on_ask = interrupt
    scanner = Scanner(plan_of("127.0.0.1", "1-1000"), asker=network.asker)
    found: list[ScanRecord] = []
    with pytest.raises(KeyboardInterrupt):
        collect(scanner, found)
    end = scanner.statistics()
    assert len(found) == end.done
    assert 0 < end.done < end.total
    assert (network.sockets, end.under_way) == (0, 0)


def collect(scanner: Scanner, found: list[ScanRecord]) -> None:
    for batch in scanner.batches():
        found.extend(batch)


def test_leaving_early_ends_the_workers(clock: JumpClock) -> None:
    network = Network(rtt=0.1)
    records = Scanner(plan_of("127.0.0.1", "1-1000"), asker=network.asker).run()
    next(records)
    records.close()
    assert network.sockets == 0
    assert sum(network.asked.values()) < 1000


def test_statistics_count_what_was_found(network: Network, clock: JumpClock) -> None:
    network.answers[1] = [0]
    network.answers[2] = [SILENT]
    scanner = Scanner(plan_of("127.0.0.1", "1-10", retries=2), asker=network.asker)
    list(scanner.run())
    end = scanner.statistics()
    assert (end.total, end.done, end.open, end.closed, end.filtered) == (10, 10, 1, 8, 1)
    assert end.tries == sum(network.asked.values())


def test_hosts_beyond_memory_are_forgotten_and_still_scanned(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenprobe.engine.scanner.MAX_HOSTS", 4)
    scanner = Scanner(plan_of("127.0.1.0/24", "1-3"), asker=network.asker)
    found = Counter((record.ip, record.port) for record in scanner.run())
    assert len(found) == sum(found.values()) == 256 * 3
    assert len(scanner._hosts) == 4


def test_an_empty_scan_ends_at_once(network: Network) -> None:
    hosts = parse_hosts(["127.0.0.1"], lambda name: [])
    plan = ScanPlan(targets=Targets(hosts.without(hosts), range(1, 10), seed=1))
    assert list(Scanner(plan, asker=network.asker).run()) == []


def test_as_many_targets_as_a_network_of_ipv6_has_can_be_counted() -> None:
    plan = plan_of("fd00::/64", "1")
    assert plan.total == Scanner(plan).statistics().total == 1 << 64
    assert [replace(plan, shard=shard, shards=3).total for shard in range(3)] == [(1 << 64) // 3 + 1] + [
        (1 << 64) // 3
    ] * 2


def test_names_and_scopes_show_in_the_records(network: Network) -> None:
    hosts = parse_hosts(["fe80::1%lo", "a.test"], lambda name: ["127.0.0.7"])
    plan = ScanPlan(targets=Targets(hosts, (80,), seed=1))
    found = {record.ip: record.host for record in Scanner(plan, asker=network.asker).run()}
    assert found == {"fe80::1%lo": "fe80::1%lo", "127.0.0.7": "a.test"}


# -- paths that lose, in virtual time


def test_a_path_that_loses_at_random_is_not_taken_for_a_filter(clock: JumpClock) -> None:
    """1 % loss each way, half of the ports silent: as the lab's scene `lossy`."""
    network = Network(rtt=0.02)
    network.answers.update({port: [SILENT] for port in range(1, 1001)})
    network.answers.update({port: [0] for port in range(1001, 1051)})
    dice = Random(3)
    network.delay = lambda now: NEVER if dice.random() < 0.02 else network.rtt
    plan = plan_of("127.0.0.1", "1-2050", concurrency=4000)
    found = Counter(record.state for record in scan(network, plan).values())
    assert found == {"filtered": 1000, "open": 50, "closed": 1000}
    assert clock.now() < 2


class Bottleneck:
    """A link that passes `rate_per_s` probes, queues `room`, and loses the others."""

    def __init__(self, *, rtt: float, rate_per_s: float, room: int) -> None:
        self.rtt, self.rate_per_s, self.room = rtt, rate_per_s, room
        self.free_at = 0.0
        self.lost = 0

    def delay(self, now: float) -> float:
        self.free_at = max(self.free_at, now)
        if self.free_at - now > self.room / self.rate_per_s:
            self.lost += 1
            return NEVER
        self.free_at += 1 / self.rate_per_s
        return self.free_at - now + self.rtt


def test_a_narrow_path_is_filled_and_not_flooded(clock: JumpClock) -> None:
    """As the lab's scene `narrow`: 3,000 a second, 300 queued, 30 ms. A fixed window of 1,000 loses a sixth."""
    network = Network()
    path = Bottleneck(rtt=0.03, rate_per_s=3000, room=300)
    network.delay = path.delay
    found = scan(network, plan_of("127.0.0.1", "1-4500", concurrency=4000))
    assert {record.state for record in found.values()} == {"closed"}
    assert clock.now() < 4500 / 3000 * 1.3
    assert path.lost < 300  # nearly all of them while the window opens for the first time


def test_a_host_that_limits_its_answers_is_asked_until_each_port_is_known(clock: JumpClock) -> None:
    """As the lab's scene `rstlimit`: 500 answers a second and no queue. Silence of a closed port is no filter."""
    network = Network()
    network.delay = Bottleneck(rtt=0.01, rate_per_s=500, room=50).delay
    found = scan(network, plan_of("127.0.0.1", "1-2000", concurrency=4000))
    assert {record.state for record in found.values()} == {"closed"}
    assert clock.now() < 2000 / 500 * 2


def test_a_dead_host_costs_one_try_a_port(clock: JumpClock) -> None:
    network = Network()
    network.answers.default_factory = lambda: [SILENT]
    found = scan(network, plan_of("127.0.0.1", "1-1500", concurrency=4000))
    assert {record.state for record in found.values()} == {"filtered"}
    assert sum(network.asked.values()) < 1700
    assert clock.now() < 6


def test_dead_hosts_do_not_hold_up_those_that_answer(clock: JumpClock) -> None:
    """As the lab's scene `slash24dead`: three hosts of four dead. Their few scouts wait the longest time, once."""
    network = Network(rtt=0.01)
    network.silent_hosts = {f"127.0.1.{number}" for number in range(64) if number % 4}
    plan = plan_of("127.0.1.0/26", "1-100", concurrency=2000)
    found = Counter(record.state for record in Scanner(plan, asker=network.asker).run())
    assert found == {"closed": 16 * 100, "filtered": 48 * 100}
    assert sum(network.asked.values()) == 6400
    assert clock.now() < 2.5


def test_a_host_that_answers_late_has_its_silent_ports_asked_again(clock: JumpClock) -> None:
    """Far behind what the others have shown: the first tries of its ports are cut short, and none is lost by that."""
    network = Network()
    network.delay_of["127.0.1.0"] = 0.001
    network.delay_of["127.0.1.1"] = 0.6
    plan = plan_of("127.0.1.0/31", "1-100", concurrency=1000)
    found = {(record.ip, record.port): record.state for record in Scanner(plan, asker=network.asker).run()}
    assert set(found.values()) == {"closed"}
    assert len(found) == 200


def test_a_host_with_one_open_port_is_asked_as_often_as_loss_wants(clock: JumpClock) -> None:
    """All other ports are filtered, so until the open one answers the host looks dead."""
    network = Network(rtt=0.01)
    network.answers.default_factory = lambda: [SILENT]
    network.answers[77] = [SILENT, 0]
    network.answers[5] = [0]
    found = scan(network, plan_of("127.0.0.1", "1-100", concurrency=200))
    assert {port for port, record in found.items() if record.state == "open"} == {5, 77}


def test_few_ports_of_a_silent_host_are_asked_twice(clock: JumpClock) -> None:
    network = Network()
    network.answers[1] = [SILENT, 0]
    network.answers[2] = [SILENT]
    assert {port: record.state for port, record in scan(network, plan_of("127.0.0.1", "1-2")).items()} == {
        1: "open",
        2: "filtered",
    }
    assert network.asked[2] >= 2


def test_one_host_that_limits_its_answers_does_not_slow_the_others_down(clock: JumpClock) -> None:
    network = Network(rtt=0.01)
    slow = Bottleneck(rtt=0.01, rate_per_s=100, room=20)
    network.paths["127.0.1.3"] = slow.delay
    plan = plan_of("127.0.1.0/29", "1-400", concurrency=1000)
    times: dict[str, float] = {}
    states = set()
    for record in Scanner(plan, asker=network.asker).run():
        times[record.ip] = clock.now()
        states.add(record.state)
    assert states == {"closed"}
    assert max(when for ip, when in times.items() if ip != "127.0.1.3") < times["127.0.1.3"] / 2


class FullTable:
    """A table of our connection tracking: an entry lasts for `life` seconds, what finds no room is lost unseen."""

    def __init__(self, network: Network, clock: JumpClock, *, most: int, life: float) -> None:
        self.network, self.clock, self.most, self.life = network, clock, most, life
        self.entries: list[float] = []
        self.drops = 0
        self.late_drops = 0
        network.delay = self.delay

    def count(self) -> int:
        self.entries = [end for end in self.entries if end > self.clock.now()]
        return len(self.entries)

    def delay(self, now: float) -> float:
        if self.count() >= self.most:
            self.drops += 1
            self.late_drops += now > 2  # it has been seen by then
            return NEVER
        self.entries.append(now + self.life)
        return self.network.rtt

    def tracking(self, now: float) -> Tracking:
        return Tracking(now, lambda: self.drops, lambda: (self.count(), self.most))


def test_a_full_table_of_connections_slows_the_scan_and_loses_nothing(clock: JumpClock) -> None:
    network = Network(rtt=0.01)
    silent = set(range(100, 200))
    for port in silent:
        network.answers[port] = [SILENT]
    network.answers[300] = [0]
    table = FullTable(network, clock, most=60, life=30.0)
    scanner = Scanner(plan_of("127.0.0.1", "1-400", concurrency=1000), asker=network.asker, tracking=table.tracking)
    states = {record.port: record.state for record in scanner.run()}
    assert {port for port, state in states.items() if state == "filtered"} == silent
    assert [port for port, state in states.items() if state == "open"] == [300]
    assert scanner.statistics().shortages["conntrack"] == table.drops
    assert table.late_drops < clock.now() / TRICKLE
    needed = 400 / 60 * 30.0
    assert clock.now() < 1.6 * needed


def test_a_full_table_on_a_path_that_loses_much_ends_the_scan_all_the_same(clock: JumpClock) -> None:
    network = Network(rtt=0.01)
    for port in range(300, 400):
        network.answers[port] = [SILENT, REFUSED]  # so that a silent port deserves more tries than one socket makes
    silent = set(range(100, 150))
    for port in silent:
        network.answers[port] = [SILENT]
    table = FullTable(network, clock, most=250, life=20.0)
    scanner = Scanner(plan_of("127.0.0.1", "1-400", retries=9), asker=network.asker, tracking=table.tracking)
    records = list(scanner.run())
    assert len(records) == 400
    assert silent <= {record.port for record in records if record.state == "filtered"}
    assert table.drops
    assert network.insisted < 200


def test_a_silent_port_takes_one_entry_of_a_full_table(clock: JumpClock) -> None:
    network = Network(rtt=0.01)
    network.answers.default_factory = lambda: [SILENT]
    for port in range(1, 60):
        network.answers[port] = [REFUSED]
    table = FullTable(network, clock, most=40, life=10.0)
    list(Scanner(plan_of("127.0.0.1", "1-200", concurrency=500), asker=network.asker, tracking=table.tracking).run())
    late = network.order[len(network.order) // 2 :]
    assert max(Counter(late).values()) == 1
    assert network.insisted > 60


@pytest.mark.parametrize(("measured", "told"), ((0.0, 0.01), (0.004, 0.004)))
def test_the_round_trip_to_an_open_port_is_the_kernels_if_it_has_measured_it(
    clock: JumpClock, measured: float, told: float
) -> None:
    network = Network(rtt=0.01)
    network.kernel_rtt = measured
    network.answers[2] = [0]
    found = scan(network, plan_of("127.0.0.1", "1-2"))
    assert found[2].rtt == pytest.approx(told)
    assert found[1].rtt == pytest.approx(0.01)


def test_a_rate_is_kept_from_the_first_probe_on(clock: JumpClock) -> None:
    network = Network()
    list(Scanner(replace(plan_of("127.0.0.1", "1-100"), rate=20.0), asker=network.asker).run())
    assert clock.now() == pytest.approx(100 / 20, abs=0.1)


def test_a_least_rate_holds_on_a_path_that_loses(clock: JumpClock) -> None:
    network = Network()
    network.delay = Bottleneck(rtt=0.02, rate_per_s=50, room=10).delay
    plan = replace(plan_of("127.0.0.1", "1-500", concurrency=1000, retries=1), min_rate=1000.0)
    times: dict[int, float] = {}
    network.on_ask = lambda port: times.setdefault(port, clock.now())
    list(Scanner(plan, asker=network.asker).run())
    assert max(times.values()) < 1.5


# -- real sockets


@pytest.mark.parametrize("host", ("127.0.0.1", "::1"))
def test_open_and_closed_ports_of_loopback_are_told_apart(host: str) -> None:
    try:
        servers = [create_server((host, 0), family=10 if ":" in host else 2) for _ in range(3)]
    except OSError:
        pytest.skip(f"no {host} here")
    opened = {server.getsockname()[1] for server in servers}
    ports = sorted({port + step for port in opened for step in (-1, 0, 1) if port + step < 65536})
    try:
        plan = plan_of(host, ",".join(map(str, ports)))
        found = {record.port: record for record in Scanner(plan).run()}
    finally:
        for server in servers:
            server.close()
    assert set(found) == set(ports)
    assert opened <= {port for port, record in found.items() if (record.state, record.reason) == ("open", "syn-ack")}
    assert all(record.tries == 1 for record in found.values())
    assert all(0 < (record.rtt or 0) < 1 for record in found.values())


@pytest.mark.slow
def test_an_open_port_of_loopback_is_one_where_somebody_listens() -> None:
    """Slow: 28,000 connects. A socket that met itself, one in 20,000 of the local ports, must not show as open."""
    before = listening_ports()
    with create_server(("127.0.0.9", 0)) as server:
        found = {record.port: record.state for record in Scanner(plan_of("127.0.0.9", "32768-60999")).run()}
        ours = server.getsockname()[1]
    opened = {port for port, state in found.items() if state == "open"}
    assert len(found) == 60999 - 32767
    assert set(found.values()) <= {"open", "closed"}
    assert ours in opened <= {ours} | before | listening_ports()


def listening_ports() -> set[int]:
    """Return the local TCP ports in state LISTEN, on whatever address."""
    lines = chain.from_iterable(Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6"))
    fields = [line.split() for line in lines]
    return {int(field[1].rpartition(":")[2], 16) for field in fields if field[3] == "0A"}


class Router:
    """Drops what comes to a host while its table of connections is full: entries of silent ports last for `life`."""

    def __init__(self, network: Network, clock: JumpClock, *, most: int, life: float) -> None:
        self.clock = clock
        self.most = most
        self.life = life
        self.ends: list[float] = []
        self.drops = 0
        network.passes = self.passes

    def passes(self, port: int) -> bool:
        now = self.clock.now()
        self.ends = [end for end in self.ends if end > now]
        if len(self.ends) >= self.most:
            self.drops += 1
            return False
        self.ends.append(now + self.life)
        return True


@pytest.mark.parametrize(("most", "life"), [(20, 5.0), (30, 3.0), (40, 1.0), (60, 10.0)])
def test_a_full_table_of_a_router_on_the_way_is_no_state_of_a_port(clock: JumpClock, most: int, life: float) -> None:
    network = Network(rtt=0.01)
    silent = set(range(100, 200))
    for port in silent:
        network.answers[port] = [SILENT]
    network.answers[300] = [0]
    router = Router(network, clock, most=most, life=life)
    scanner = Scanner(plan_of("127.0.0.1", "1-400", concurrency=500), asker=network.asker)
    found = states({record.port: record for record in scanner.run()})
    assert router.drops > 100
    assert {port for port, (state, _) in found.items() if state == "filtered"} == silent
    assert {reason for state, reason in found.values() if state == "filtered"} == {"no-response"}
    assert found[300][0] == "open"
    assert (scanner.statistics().held, scanner.statistics().lost) == (1, 0)


def test_hosts_behind_one_router_share_what_its_table_has_room_for(clock: JumpClock) -> None:
    network = Network(rtt=0.01)
    silent = set(range(60, 90))
    for port in silent:
        network.answers[port] = [SILENT]
    router = Router(network, clock, most=40, life=5.0)
    plan = plan_of(" ".join(f"127.0.0.{number}" for number in range(1, 6)), "1-100", concurrency=500)
    scanner = Scanner(plan, asker=network.asker)
    records = list(scanner.run())
    assert router.drops > 100
    assert Counter(record.state for record in records) == {"closed": 5 * 70, "filtered": 5 * 30}
    assert {record.port for record in records if record.state == "filtered"} == silent
    assert scanner.statistics().held > 1
    assert scanner.statistics().lost == 0


@pytest.mark.parametrize("closed_for", (0.275, 0.4, 0.5, 0.6, 0.7))
def test_a_way_that_opens_just_before_it_is_looked_at_settles_nothing(clock: JumpClock, closed_for: float) -> None:
    network = Network(rtt=0.01)
    opens = NEVER

    def passes(port: int) -> bool:
        nonlocal opens
        if len(network.order) == 100:
            opens = clock.now() + closed_for
        return len(network.order) < 100 or clock.now() >= opens

    network.passes = passes
    assert set(states(scan(network, plan_of("127.0.0.1", "1-130", retries=2))).values()) == {("closed", "reset")}


class SweptTable:
    """Drops what comes after 49 probes until it has dropped the witness three times, then the first of each batch.

    So it is full whenever a batch is asked, and swept while the witness is asked right after.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.witnesses: set[int] = set()
        self.misses = 0
        self.was_witness = False
        self.dropped_in_calm: set[int] = set()
        network.passes = self.passes

    def passes(self, port: int) -> bool:
        is_witness, was_witness = port in self.witnesses, self.was_witness
        self.was_witness = is_witness
        if len(self.network.order) < 50:
            self.witnesses.add(port)
            return True
        if self.misses < 3:
            self.misses += is_witness
            return False
        if is_witness:
            return was_witness
        is_first = port not in self.dropped_in_calm
        self.dropped_in_calm.add(port)
        return not is_first


def test_a_batch_in_calm_is_not_settled_by_a_witness_that_missed_once(clock: JumpClock) -> None:
    network = Network(rtt=0.01)
    table = SweptTable(network)
    scanner = Scanner(plan_of("127.0.0.1", "1-70", retries=2), asker=network.asker)
    assert {record.state for record in scanner.run()} == {"closed"}
    assert scanner.statistics().held == 1
    assert table.dropped_in_calm


def test_where_one_witness_has_fallen_silent_another_is_asked(clock: JumpClock) -> None:
    network = Network(rtt=0.01)
    network.answers[10] = [0, SILENT]  # a service that ends after it was found
    for port in range(100, 150):
        network.answers[port] = [SILENT]
    scanner = Scanner(plan_of("127.0.0.1", "1-200"), asker=network.asker)
    found = states({record.port: record for record in scanner.run()})
    assert {port for port, (state, _) in found.items() if state == "filtered"} == set(range(100, 150))
    assert scanner.statistics().held == 0


def test_a_host_that_bans_for_a_while_is_asked_again_when_it_answers(clock: JumpClock) -> None:
    network = Network(rtt=0.01)
    network.passes = lambda port: len(network.order) < 100 or clock.now() > 30
    found = scan(network, plan_of("127.0.0.1", "1-400"))
    assert {record.state for record in found.values()} == {"closed"}


def test_a_host_that_seemed_dead_while_another_was_held_is_asked_again(clock: JumpClock) -> None:
    network = Network(rtt=0.01)
    network.silent_hosts = {"127.0.0.2", "127.0.0.3"}
    network.passes = lambda port: len(network.order) < 60 or clock.now() > 5

    def open_way(port: int) -> None:
        if clock.now() > 5:
            network.silent_hosts.discard("127.0.0.2")

    network.on_ask = open_way
    scanner = Scanner(plan_of("127.0.0.1-3", "1-50"), asker=network.asker)
    states = Counter((record.ip, record.state) for record in scanner.run())
    assert scanner.statistics().held
    assert states == {("127.0.0.1", "closed"): 50, ("127.0.0.2", "closed"): 50, ("127.0.0.3", "filtered"): 50}


def test_a_host_that_never_answers_again_is_said_to_and_no_more_asked(clock: JumpClock) -> None:
    network = Network(rtt=0.01)
    network.passes = lambda port: len(network.order) < 100
    scanner = Scanner(plan_of("127.0.0.1 127.0.0.2", "1-400"), asker=network.asker)
    reasons = Counter(record.reason for record in scanner.run())
    assert reasons["reset"] + reasons["no-longer-answers"] == 800
    assert reasons["reset"] < 100
    assert len(network.order) < 1000
    assert clock.now() < 400
    assert (scanner.statistics().held, scanner.statistics().lost) == (2, 2)


def test_ports_that_are_silent_together_share_the_probes_of_the_way(clock: JumpClock) -> None:
    network = Network(rtt=0.01)
    for port in range(100, 200):
        network.answers[port] = [SILENT]
    scan(network, plan_of("127.0.0.1", "1-400", retries=2))
    assert len(network.order) < 300 + 100 * 3 + 100
