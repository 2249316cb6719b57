"""Producer and consumers: URLs come from one place, several greenthreads fetch them, results go to one more.

python examples/producer_consumer.py http://127.0.0.1:8000/a http://127.0.0.1:8000/b
python examples/producer_consumer.py < urls.txt
"""

import sys
from collections.abc import Iterable

from greenprobe import Queue, spawn
from greenprobe.http import Client

CONSUMERS = 20


def produce(urls: Iterable[str], todo: Queue[str]) -> None:
    """Put every URL into the queue, as there is room; then close it."""
    for url in urls:
        todo.put(url.strip())
    todo.shutdown()


def consume(client: Client, todo: Queue[str], results: Queue[str]) -> None:
    """Fetch URLs until there are no more."""
    for url in todo:
        try:
            answer = client.get(url)
            results.put(f"{answer.status} {len(answer.content):8} {url}")
        except Exception as error:
            results.put(f"{type(error).__name__} {url}: {error}")


def main(urls: Iterable[str]) -> None:
    todo: Queue[str] = Queue(100)
    results: Queue[str] = Queue(100)
    with Client() as client:
        spawn(produce, urls, todo)
        consumers = [spawn(consume, client, todo, results) for _ in range(CONSUMERS)]

        def close_results() -> None:
            for consumer in consumers:
                consumer.join()
            results.shutdown()

        spawn(close_results)
        for line in results:
            print(line)


if __name__ == "__main__":
    main(sys.argv[1:] or sys.stdin)
