"""The crawl frontier on disk, by itself: put, claim and acknowledge a million addresses of fifty thousand hosts.

    python benchmarks/frontier.py [--addresses 1000000] [--hosts 50000] [--claims 200000] [--folder DIR]

Addresses are made up, in an order that goes round the hosts; they are put by the thousand, then claimed by the hundred
with a delay for each host, acknowledged and committed, as the crawler does. Rates are by CPU time; the memory is the
process's peak. At the end the file is opened once more, as a crawl that goes on would.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from greenprobe.engine.canonical import Address
from greenprobe.engine.frontier import Found, rank_of
from greenprobe.engine.sqlite_frontier import SqliteFrontier

BATCH = 1000
CLAIMED = 100
DELAY = 0.001  # seconds of the made-up clock between two claims of one host


def put(frontier: SqliteFrontier, addresses: int, hosts: int) -> float:
    """Put all addresses; return the CPU seconds."""
    began = time.process_time()
    for first in range(0, addresses, BATCH):
        numbers = range(first, min(first + BATCH, addresses))
        origins = (f"http://h{number * 7919 % hosts}.test" for number in numbers)
        frontier.put(
            Found(Address(origin, f"/p/{number}.html"), number % 5, 0, rank_of(number % 5))
            for number, origin in zip(numbers, origins, strict=True)
        )
        frontier.commit()
    return time.process_time() - began


def claim(frontier: SqliteFrontier, count: int) -> float:
    """Claim and acknowledge so many; return the CPU seconds."""
    began = time.process_time()
    done, now = 0, 0.0
    while done < count:
        claims = frontier.claim(min(CLAIMED, count - done), now)
        for one in claims:
            frontier.delay(one.address.origin, now + DELAY)
        frontier.ack(claims)
        done += len(claims)
        frontier.commit(str(done))
        now += DELAY
    return time.process_time() - began


def peak_mb() -> float:
    """Return the most memory this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--addresses", type=int, default=1_000_000)
    parser.add_argument("--hosts", type=int, default=50_000)
    parser.add_argument("--claims", type=int, default=200_000)
    parser.add_argument("--folder", help="where the file is made")
    args = parser.parse_args()
    if args.claims > args.addresses:
        parser.error(f"--claims {args.claims} is more than --addresses {args.addresses}")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / "frontier"
        frontier = SqliteFrontier(str(path))
        putting = put(frontier, args.addresses, args.hosts)
        claiming = claim(frontier, args.claims)
        frontier.close()
        size = path.stat().st_size / 2**20
        peak = peak_mb()
        began = time.perf_counter()
        again = SqliteFrontier(str(path))
        opening = time.perf_counter() - began
        done = again.statistics().done
        again.close()
    print(f"put: {args.addresses / putting:,.0f} addresses/s")
    print(f"claim and ack: {args.claims / claiming:,.0f}/s (target 5,000)")
    print(f"peak memory: {peak:.0f} MB (target 250)")
    print(f"the file: {size:.0f} MB; opened again in {opening:.1f} s, {done:,} done")


if __name__ == "__main__":
    main()
