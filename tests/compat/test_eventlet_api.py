"""What eventlet 0.41.3 offers is here, name by name, called the same way, but for what is listed with its reason."""

import re
import subprocess
import sys
import warnings
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from operator import attrgetter
from typing import Any

import pytest
from eventlet_api import RECORDED, can_be_called_so, parameters

OURS = "greenprobe.compat.eventlet"
LEFT_OUT = {
    r"_version\.": "made by eventlet's build; `__version__` is there",
    r"backdoor\.(FileProxy|SocketConsole)": "sessions are greenprobe.backdoor's, which knows output by context",
    r"db_pool\.(Generic|Pooled)ConnectionWrapper\.(?!__)": "any method of the driver's is there, whichever it has",
    r"green\.OpenSSL\.SSL\.\w+\.(dup|(read|recv|send|sendall|write)\()": "named as by pyOpenSSL, which has no dup",
    r"green\.OpenSSL\.SSL\.(Green)?Connection(Type)?\(": "named as by pyOpenSSL",
    r"green\.os\.(open|read|write)\(": "parameters are named as by os",
    r"green\.profile\.(ContextWrap|Profile\.)": "the insides of a profiler that is cProfile's here",
    r"green\.select\.(get_fileno|select\()": "parameters are named as by select",
    r"green\.ssl\.(Green)?SSLSocket\.(recvfrom|sendto|settimeout)\(": "parameters are ssl's",
    r"green\.ssl\.green_create_default_context": "ssl.create_default_context makes green sockets",
    r"green\.subprocess\.Popen\.wait\(": "nothing is looked at every so often, so there is no check_interval",
    r"green\.thread\.(get_ident|start_new(_thread)?)\(": "parameters are those of _thread",
    r"green\.zmq\.(LockReleaseError|Socket\.send\()": "nothing here raises it; parameters are pyzmq's",
    r"greenio(\.base)?\.GreenSocket\.settimeout\(": "parameters are those of socket.socket",
    r"greenio\.(base|py3)\.(BUFFER_SIZE|DEFAULT_BUFFER_SIZE|SOCKET_BLOCKING|socket_)": "the insides of its sockets",
    r"greenpool\.GreenMap": "made by imap alone, and no pile",
    r"greenthread\.GreenThread(\(|\.main)": "made by spawn alone",
    r"hubs\.(\w+)\.(Base)?Hub[(.]": "there is one hub, and nobody else makes or drives one",
    r"hubs\.hub\.(DebugListener|alarm_|arm_alarm|closed_callback|noop)": "the insides of its hubs",
    r"hubs\.selects\.BAD_SOCK": "the insides of its hubs",
    r"queue\.(Item)?Waiter": "the insides of its queues",
    r"support\.greendns\.(DNS_|HOSTS_|Hosts|Resolver|compute_|resolver|tcp|udp|resolve\()": "its wrapping of dnspython",
    r"TimeoutError\(|greenthread\.TimeoutError\(": "the class Timeout here, which it is made from there",
    r"timeout\.Timeout\.__exit__|Timeout\.__exit__|CappedSemaphore\.__exit__": "called by `with` alone",
    r"tpool\.(SYS_EXCS|tpool_trampoline|tworker)": "the insides of its threads",
    r"websocket\.(ACCEPTABLE_|PROTOCOL_GUID|ProtocolError|RFC6455WebSocket\.[MU]|VALID_)": "frames are wsproto's here",
    r"wsgi\.(HttpProtocol|Input\()": "nothing here is a BaseHTTPRequestHandler; another protocol is warned of",
    r"wsgi\.(ACCEPT_|BAD_SOCK|FileObject|Header|RESPONSE_414|addr_to_|get_logger|socket_repr|Logger)": "its insides",
    r"wsgi\.Input\.readlines?\(": "found on the object, which has the body's own",
    r"wsgi\.Server\.log_message": "raises there: it was taken away",
}
NEEDS = {"green.OpenSSL": "OpenSSL", "green.zmq": "zmq", "green.MySQLdb": "MySQLdb", "support.psycopg2": "psycopg2"}
LINES = RECORDED.read_text("utf-8").splitlines()


def is_missing(line: str) -> bool:
    """Tell whether what a line of the list says is not so here."""
    path, bracket, spelling = line.partition("(")
    try:
        found = find(path)
    except (AttributeError, ImportError):
        return True
    return bool(bracket) and not (callable(found) and can_be_called_so(found, bracket + spelling))


def find(path: str) -> Any:
    """Return what has a name below our package."""
    module, rest = import_module(OURS), path.split(".")
    while len(rest) > 1 and find_spec(f"{module.__name__}.{rest[0]}") is not None:
        module = import_module(f"{module.__name__}.{rest.pop(0)}")
        if not hasattr(module, "__path__"):
            break
    return attrgetter(".".join(rest))(module)


def can_be_asked(line: str) -> bool:
    """Tell whether what a line is about is there: the package, and the Python."""
    if "start_joinable_thread" in line and sys.version_info < (3, 13):
        return False
    if line.startswith(("greenio.SSL", "greenio.base.SSL")):  # eventlet's stand-in where pyOpenSSL is missing
        return False
    return all(find_spec(needed) is not None for prefix, needed in NEEDS.items() if line.startswith(prefix))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_eventlet_offers_is_here_and_is_called_the_same_way() -> None:
    missing = [line for line in LINES if can_be_asked(line) and is_missing(line)]
    assert [line for line in missing if not any(re.match(pattern, line) for pattern in LEFT_OUT)] == []


@pytest.mark.parametrize("pattern", LEFT_OUT)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_nothing_is_said_to_be_left_out_that_is_here(pattern: str) -> None:
    about = [line for line in LINES if re.match(pattern, line)]
    assert about, "eventlet has nothing of that name"
    if all(map(can_be_asked, about)):
        assert any(map(is_missing, about))


GREEN = {
    **{name: name for name in "os select selectors socket ssl subprocess threading time".split()},
    **{name: name for name in "http.client http.server http.cookies http.cookiejar ftplib".split()},
    **{name: name for name in "urllib.request urllib.parse urllib.error urllib.response".split()},
    "Queue": "queue",
    "SocketServer": "socketserver",
    "httplib": "http.client",
    "BaseHTTPServer": "http.server",
    "thread": "_thread",
    "builtin": "builtins",
}


@pytest.mark.parametrize("name", GREEN)
def test_a_green_module_has_every_public_name_of_the_standard_library_s(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stdlib, green = import_module(GREEN[name]), import_module(f"{OURS}.green.{name}")
        public = getattr(stdlib, "__all__", [each for each in dir(stdlib) if not each.startswith("_")])
        assert [each for each in public if not hasattr(green, each)] == []


@pytest.mark.slow
@pytest.mark.skipif(find_spec("eventlet") is None, reason="eventlet is not installed (pip install '.[bench]')")
def test_the_list_is_eventlets() -> None:
    """Slow: a process imports all of eventlet."""
    if version("eventlet") != "0.41.3":
        pytest.skip("the list is of eventlet 0.41.3")
    command = [sys.executable, "-W", "ignore", "eventlet_api.py", "eventlet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=RECORDED.parent.parent)
    listed = set(done.stdout.splitlines())
    assert set(filter(can_be_asked, listed)) == set(filter(can_be_asked, LINES))


def test_parameters_are_compared_by_name_or_by_place() -> None:
    def two(first: int, second: int = 2) -> None: ...

    def any_more(function: object, *args: object) -> None: ...

    assert parameters(two) == "(first, second=)"
    assert can_be_called_so(two, "(first)")
    assert can_be_called_so(two, "(first, second=)")
    assert not can_be_called_so(two, "(first=)")
    assert not can_be_called_so(two, "(first, third=)")
    assert not can_be_called_so(two, "(first, second=, third=)")
    assert not can_be_called_so(two, "()")
    assert can_be_called_so(any_more, "(func, *)")
