"""Programs of others on a patched standard library, against real servers that are slow: N operations at once.

Whether they overlap is asked without a clock: the server answers nobody before all N have asked (a lock that they wait
for, a queue that stays empty, the gate of `gate.py`). Who blocks the OS thread keeps the others from asking, and the
test ends by its timeout. All N run in one OS thread, which is counted.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from core_tools import is_installed
from patched import python
from real_servers import mariadb_server, memcached_server, postgres_server, python_server, redis_server

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
OPERATIONS = 20
TIMEOUT = 90

PROGRAM = """
import greenprobe; greenprobe.monkey_patch()
import warnings; warnings.simplefilter("ignore")
import json, os, sys, threading, time
from json import loads
N, place = {operations}, loads({place!r})
def until(condition):
    while not condition():
        time.sleep(0.005)
def at_once(operation, beside=lambda: None):
    "Call operation(i) for i < N, each in a thread, and beside() in this one; return the results."
    results = [None] * N
    def call(i):
        try:
            results[i] = operation(i)
        except BaseException as error:
            results[i] = repr(error)
    threads = [threading.Thread(target=call, args=(i,), daemon=True) for i in range(N)]
    for thread in threads: thread.start()
    beside()
    for thread in threads: thread.join()
    print(json.dumps([results, len(os.listdir("/proc/self/task"))]), flush=True)
"""


def at_once(code: str, place: object) -> list[Any]:
    """Run a patched program that calls `at_once`, and return the results of its N operations."""
    program = PROGRAM.format(operations=OPERATIONS, place=json.dumps(place)) + dedent(code)
    done = python("-W", "ignore", "-c", program, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    results, os_threads = json.loads(done.stdout.splitlines()[-1])
    assert os_threads == 1, f"{os_threads} OS threads"
    return list(results)


def needs(*packages: str) -> None:
    """Skip the test if a package of the extra `third-party` is missing."""
    missing = [package for package in packages if not is_installed(package)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install '.[third-party]'")


# -- HTTP


@pytest.fixture(scope="module")
def web() -> Iterator[int]:
    """The port of a web server that answers every path with that path."""
    with python_server(str(HERE / "path_server.py")) as port:
        yield port


@pytest.fixture
def slow_web(web: int) -> Iterator[str]:
    """The URL of that web server behind a gate."""
    with python_server(str(HERE / "gate.py"), str(OPERATIONS), "127.0.0.1", str(web)) as port:
        yield f"http://127.0.0.1:{port}"


PATHS = [f"/{number}" for number in range(OPERATIONS)]


def test_urllib_asks_many_at_once(slow_web: str) -> None:
    """Slow: servers in processes of their own."""
    code = """
        from urllib.request import urlopen
        def ask(i):
            with urlopen(f"{place}/{i}", timeout=30) as answer:
                return answer.read().decode()
        at_once(ask)
    """
    assert at_once(code, slow_web) == PATHS


def test_requests_asks_many_at_once(slow_web: str) -> None:
    """Slow: servers in processes of their own."""
    needs("requests")
    code = """
        import requests
        at_once(lambda i: requests.get(f"{place}/{i}", timeout=30).text)
    """
    assert at_once(code, slow_web) == PATHS


def test_a_session_of_requests_is_shared(slow_web: str) -> None:
    """Slow: servers in processes of their own."""
    needs("requests")
    code = """
        import requests
        session = requests.Session()
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=N))
        at_once(lambda i: session.get(f"{place}/{i}", timeout=30).text)
    """
    assert at_once(code, slow_web) == PATHS


def test_urllib3_asks_many_at_once_through_one_pool(slow_web: str) -> None:
    """Slow: servers in processes of their own."""
    needs("urllib3")
    code = """
        import urllib3
        pool = urllib3.PoolManager(maxsize=N, block=True)
        at_once(lambda i: pool.request("GET", f"{place}/{i}", timeout=30).data.decode())
    """
    assert at_once(code, slow_web) == PATHS


def test_httpx_asks_many_at_once_through_one_client(slow_web: str) -> None:
    """Slow: servers in processes of their own."""
    needs("httpx")
    code = """
        import httpx
        client = httpx.Client(timeout=30)
        at_once(lambda i: client.get(f"{place}/{i}").text)
    """
    assert at_once(code, slow_web) == PATHS


def test_boto3_lists_buckets_of_moto_s_server_many_at_once() -> None:
    """Slow: moto's server takes seconds to start."""
    needs("boto3", "moto", "flask")
    with (
        python_server(str(HERE / "moto_server.py")) as moto,
        python_server(str(HERE / "gate.py"), str(OPERATIONS), "127.0.0.1", str(moto)) as gate,
    ):
        code = """
            import boto3, botocore.config
            keys = dict(aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1")
            direct = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{place[0]}", **keys)
            direct.create_bucket(Bucket="one")
            settings = botocore.config.Config(max_pool_connections=N, retries={"total_max_attempts": 1})
            slow = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{place[1]}", config=settings, **keys)
            at_once(lambda i: [bucket["Name"] for bucket in slow.list_buckets()["Buckets"]])
        """
        assert at_once(code, [moto, gate]) == [["one"]] * OPERATIONS


def test_flask_on_werkzeug_s_server_serves_many_at_once() -> None:
    """Slow: imports of half a second."""
    needs("flask")
    code = """
        import flask, logging, werkzeug.serving
        from urllib.request import urlopen
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        app, gate = flask.Flask("app"), threading.Barrier(N)
        @app.get("/<word>")
        def view(word):
            gate.wait(30)
            return f"/{word} {flask.request.args['q']}"
        server = werkzeug.serving.make_server("127.0.0.1", 0, app, threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        def ask(i):
            with urlopen(f"http://127.0.0.1:{server.server_port}/{i}?q={i * i}", timeout=30) as answer:
                return answer.read().decode()
        at_once(ask)
    """
    assert at_once(code, None) == [f"/{number} {number * number}" for number in range(OPERATIONS)]


# -- databases, caches, queues


@pytest.fixture(scope="module")
def redis_port() -> Iterator[int]:
    """The port of a Redis server."""
    with redis_server() as port:
        yield port


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The folder of a PostgreSQL server's socket."""
    with postgres_server() as folder:
        yield folder


def test_redis_clients_block_at_once_on_an_empty_list(redis_port: int) -> None:
    """Slow: a real server."""
    needs("redis")
    code = """
        import redis
        client = redis.Redis(port=place, socket_timeout=60)
        def feed():
            until(lambda: client.info("clients")["blocked_clients"] == N)
            client.rpush("list", *range(N))
        at_once(lambda i: int(client.blpop("list", 30)[1]), feed)
    """
    assert sorted(at_once(code, redis_port)) == list(range(OPERATIONS))


def test_redis_subscribers_hear_what_is_published(redis_port: int) -> None:
    """Slow: a real server."""
    needs("redis")
    code = """
        import redis
        client = redis.Redis(port=place)
        def listen(i):
            with client.pubsub(ignore_subscribe_messages=True) as channel:
                channel.subscribe("news")
                while (message := channel.get_message(timeout=30)) is None:
                    pass
                return message["data"].decode()
        def publish():
            until(lambda: client.pubsub_numsub("news")[0][1] == N)
            client.publish("news", "heard")
        at_once(listen, publish)
    """
    assert at_once(code, redis_port) == ["heard"] * OPERATIONS


def test_kombu_consumers_wait_at_once_for_their_queues(redis_port: int) -> None:
    """Slow: a real server."""
    needs("kombu", "redis")
    code = """
        import kombu, redis
        server = redis.Redis(port=place)
        url = f"redis://127.0.0.1:{place}/1"
        def consume(i):
            with kombu.Connection(url) as connection:
                queue = connection.SimpleQueue(f"queue{i}")
                message = queue.get(timeout=30)
                message.ack()
                queue.close()
                return message.payload
        def produce():
            until(lambda: server.info("clients")["blocked_clients"] == N)
            with kombu.Connection(url) as connection:
                for i in range(N):
                    queue = connection.SimpleQueue(f"queue{i}")
                    queue.put({"number": i})
                    queue.close()
        at_once(consume, produce)
    """
    assert at_once(code, redis_port) == [{"number": number} for number in range(OPERATIONS)]


def test_pymemcache_sets_and_gets_many_at_once() -> None:
    """Slow: a real server."""
    needs("pymemcache")
    with (
        memcached_server() as cache,
        python_server(str(HERE / "gate.py"), str(OPERATIONS), "127.0.0.1", str(cache)) as gate,
    ):
        code = """
            from pymemcache.client.base import Client
            def use(i):
                client = Client(("127.0.0.1", place), timeout=30, no_delay=True)
                client.set(f"key{i}", str(i), noreply=False)
                return int(client.get(f"key{i}"))
            at_once(use)
        """
        assert at_once(code, gate) == list(range(OPERATIONS))


def test_pymysql_waits_at_once_for_a_lock() -> None:
    """Slow: a real server, which takes seconds to start."""
    needs("pymysql")
    with mariadb_server() as path:
        code = """
            import pymysql
            def connect():
                return pymysql.connect(unix_socket=place, user="root", autocommit=True)
            def ask(connection, query):
                with connection.cursor() as cursor:
                    cursor.execute(query)
                    return cursor.fetchone()[0]
            main = connect()
            ask(main, "SELECT GET_LOCK('gate', 0)")
            def use(i):
                connection = connect()
                got = ask(connection, "SELECT GET_LOCK('gate', 30)")
                ask(connection, "SELECT RELEASE_LOCK('gate')")
                connection.close()
                return got
            def open_gate():
                waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE = 'User lock'"
                until(lambda: ask(main, waiting) == N)
                ask(main, "SELECT RELEASE_LOCK('gate')")
            at_once(use, open_gate)
        """
        assert at_once(code, path) == [1] * OPERATIONS


POSTGRES = """
    def ask(connection, query):
        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()[0]
    def connect():
        connection = {driver}.connect(host=place, user="postgres", dbname="postgres")
        connection.autocommit = True
        return connection
    main = connect()
    ask(main, "SELECT pg_advisory_lock(1)")
    def use(i):
        connection = connect()
        ask(connection, "SELECT pg_advisory_lock_shared(1)")
        answer = ask(connection, f"SELECT repeat('x', 300000) || '{{i}}'")
        connection.close()
        return answer.lstrip("x")
    def open_gate():
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until(lambda: ask(main, waiting) == N)
        ask(main, "SELECT pg_advisory_unlock(1)")
    at_once(use, open_gate)
"""


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
@pytest.mark.parametrize("early", [True, False], ids=["patched first", "imported first"])
def test_psycopg_waits_at_once_for_a_lock(driver: str, early: bool, postgres: str) -> None:
    """Slow: a real server."""
    needs(driver)
    code = f"import {driver}\n" + dedent(POSTGRES.format(driver=driver))
    if not early:
        code = f"greenprobe.restore()\nimport {driver}\ngreenprobe.monkey_patch()\n" + code
    assert at_once(code, postgres) == [str(number) for number in range(OPERATIONS)]


def test_psycopg2_is_left_alone_when_that_is_asked_for(postgres: str) -> None:
    """Slow: a process."""
    needs("psycopg2")
    code = """
        greenprobe.restore()
        greenprobe.monkey_patch(psycopg=False)
        import psycopg2.extensions
        at_once(lambda i: psycopg2.extensions.get_wait_callback())
    """
    assert at_once(code, None) == [None] * OPERATIONS


# -- SSH


def test_paramiko_runs_many_commands_at_once() -> None:
    """Slow: handshakes with real cryptography."""
    needs("paramiko")
    with python_server(str(HERE / "ssh_server.py"), str(OPERATIONS)) as port:
        code = """
            import paramiko
            def run(i):
                client = paramiko.SSHClient()
                client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
                client.connect("127.0.0.1", place, "user", "password", allow_agent=False, look_for_keys=False)
                words, out, _ = client.exec_command("say")
                words.write(str(i))
                words.channel.shutdown_write()
                said = out.read().decode()
                client.close()
                return said
            at_once(run)
        """
        assert at_once(code, port) == [f"say {number}" for number in range(OPERATIONS)]
