"""green.profile: calls are counted right although greenthreads switch in them."""

import eventlet
from eventlet.green import profile


def inner(number: int) -> None:
    eventlet.sleep(0)
    outer(number - 1)


def outer(number: int) -> None:
    if number > 0:
        inner(number)
    eventlet.sleep(0)


def work() -> None:
    threads = [eventlet.spawn(outer, 3) for _ in range(4)]
    for each in threads:
        each.wait()


before = eventlet.spawn(outer, 5)
eventlet.sleep(0)
result = profile.Profile()
result.runcall(work)
result.create_stats()
counts = {key[2]: value[:2] for key, value in result.stats.items()}
print({name: counts[name] for name in ("work",)})
before.wait()
