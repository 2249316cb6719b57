"""The same programs, in eventlet's words, on eventlet and on greenprobe.compat.eventlet: CPU time, as a Markdown table.

usage: eventlet_programs.py [--rounds N] [--scale X]

Each run is a process of its own, and the two take turns. What is compared is CPU time, user and system; figures are
medians of N runs.
"""

import argparse
import statistics
import subprocess
import sys

PROGRAM = """
import sys, time
if sys.argv[1] == "greenprobe":
    from greenprobe.compat.eventlet import install
    install()
import eventlet
from eventlet import event, queue, semaphore

def nothing():
    pass

def spawn_wait(n):
    for _ in range(n // 100):
        for gt in [eventlet.spawn(nothing) for _ in range(100)]:
            gt.wait()

def spawn_n(n):
    for _ in range(n // 100):
        for _ in range(100):
            eventlet.spawn_n(nothing)
        eventlet.sleep(0)

def sleep_0(n):
    for _ in range(n):
        eventlet.sleep(0)

def put_get(n):
    q = queue.Queue(10)
    def put():
        for number in range(n):
            q.put(number)
    eventlet.spawn(put)
    for _ in range(n):
        q.get()

def timeouts(n):
    for _ in range(n):
        eventlet.Timeout(10).cancel()

def imap(n):
    for _ in eventlet.GreenPool(100).imap(abs, range(n)):
        pass

def echo(n):
    listener = eventlet.listen(("127.0.0.1", 0))
    def serve(sock, address):
        while data := sock.recv(100):
            sock.sendall(data)
    server = eventlet.spawn(eventlet.serve, listener, serve)
    sock = eventlet.connect(listener.getsockname())
    for _ in range(n):
        sock.sendall(b"x")
        sock.recv(100)
    sock.close()
    server.kill()

n = int(sys.argv[3])
work = globals()[sys.argv[2]]
work(n // 20)
began = time.process_time()
work(n)
print((time.process_time() - began) / n * 1e6)
"""
CASES = {
    "spawn_wait": ("spawn and wait", 100_000),
    "spawn_n": ("spawn_n", 100_000),
    "sleep_0": ("sleep(0)", 300_000),
    "put_get": ("put and get, Queue(10)", 200_000),
    "timeouts": ("Timeout started and cancelled", 200_000),
    "imap": ("GreenPool.imap, an item", 50_000),
    "echo": ("1-byte echo over TCP, a round trip", 30_000),
}


def microseconds(contender, case, count):
    words = [sys.executable, "-W", "ignore", "-c", PROGRAM, contender, case, str(count)]
    return float(subprocess.run(words, capture_output=True, text=True, timeout=300, check=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    print("| what | µs on eventlet | µs on greenprobe | ratio |\n| --- | --- | --- | --- |")
    for case, (what, count) in CASES.items():
        count = max(1000, int(count * options.scale))
        pairs = [[microseconds(who, case, count) for who in ("eventlet", "greenprobe")] for _ in range(options.rounds)]
        theirs, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"| {what} | {theirs:.2f} | {ours:.2f} | {ours / theirs:.2f} |", flush=True)


if __name__ == "__main__":
    main()
