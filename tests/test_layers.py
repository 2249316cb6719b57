"""The rules of the layout: what may import what, how big things may grow, what a test may not do.

`LAYERS` is the reading order and the import order: a file imports only from files above it. A file that is planned and
not there yet is no fault; a file that is there and not in the list is.
"""

import ast
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from anatomy import Function, Import, calls, functions, imports, parse, percentile

import greenprobe
import greenprobe.http

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "greenprobe"

LAYERS = """
    lazy errors arguments timers poller whereabouts process runqueue hops waits hub
    waitqueue outcome sync timeout condition bare_greenthread greenthread level
    running_loop green_turns green_select green_selectors
    queue channel threadpool executor names
    green_socket green_ssl
    dns.wire dns.library dns.deferred dns.watched dns.servers dns.conf dns.hosts dns.cache dns.chain
    dns.resolution dns.flow dns.inflight dns.crew dns.udp dns.stream dns.asker
    dns.denial dns.signatures dns.dnssec dns.once dns.facts dns.resolver
    dns.interfaces dns.ordering dns.shapes dns.family green_dns
    happy_eyeballs acceptor convenience
    descriptors children green_files green_os green_subprocess aio
    pool server taskgroup local debug testing
    disguise green_ident green_lock green_thread green_threading green_queue green_time green_signal green_network
    doors drivers green_semlock stale copies patcher
    http.urls http.addresses http.certificates http.trust http.wire http.decoding http.charset http.proxy
    http.cookies http.retries http.auth http.bodies http.request http.conditional http.options
    http.connections http.trace http.lanes http.handshakes http.connector http.routes http.exchange http.recorded
    http.ranges http.plain_gets http.transport
    http.http2_frames http.http2 http.sharing
    http.response http.client http.dns_over_https
    http.request_head http.chunked http.response_head
    http.proxy_protocol http.forwarded http.websocket_frames http.websocket_handshake
    wsgi_input wsgi_response wsgi_connection wsgi access_log static_files
    graceful module_watch supervisor listeners app_loader
    websocket asgi_websocket asgi redirect backdoor objectpool dbpool
    compat.eventlet.version compat.eventlet.timeout
    compat.eventlet.hubs.timer compat.eventlet.hubs.levels compat.eventlet.hubs.hub
    compat.eventlet.hubs.epolls compat.eventlet.hubs.poll compat.eventlet.hubs.selects compat.eventlet.hubs.kqueue
    compat.eventlet.hubs.asyncio compat.eventlet.hubs.choice
    compat.eventlet.greenthread compat.eventlet.event compat.eventlet.semaphore compat.eventlet.lock
    compat.eventlet.queue compat.eventlet.greenpool compat.eventlet.corolocal compat.eventlet.coros
    compat.eventlet.support.greenlets compat.eventlet.support.tools compat.eventlet.tpool
    compat.eventlet.debug compat.eventlet.pools compat.eventlet.db_pool
    compat.eventlet.dagpool compat.eventlet.backdoor
    compat.eventlet.greenio.base compat.eventlet.greenio.py3 compat.eventlet.legacy_ssl compat.eventlet.convenience
    compat.eventlet.wsgi compat.eventlet.websocket
    compat.eventlet.asyncio compat.eventlet.optional
    compat.eventlet.support.greendns compat.eventlet.support.psycopg2_patcher
    compat.eventlet.green.private compat.eventlet.green.lazily compat.eventlet.standin compat.eventlet.running
    compat.eventlet.patcher
    compat.eventlet.green.os compat.eventlet.green.select compat.eventlet.green.selectors
    compat.eventlet.green.socket compat.eventlet.green._socket_nodns compat.eventlet.green.ssl
    compat.eventlet.green.subprocess compat.eventlet.green.thread compat.eventlet.green.threading
    compat.eventlet.green.time compat.eventlet.green.Queue compat.eventlet.green.builtin
    compat.eventlet.green.http.client compat.eventlet.green.http.server
    compat.eventlet.green.http.cookies compat.eventlet.green.http.cookiejar
    compat.eventlet.green.httplib compat.eventlet.green.BaseHTTPServer compat.eventlet.green.SimpleHTTPServer
    compat.eventlet.green.CGIHTTPServer compat.eventlet.green.SocketServer
    compat.eventlet.green.asyncore compat.eventlet.green.asynchat compat.eventlet.green.ftplib
    compat.eventlet.green.urllib.request compat.eventlet.green.urllib.parse
    compat.eventlet.green.urllib.error compat.eventlet.green.urllib.response compat.eventlet.green.urllib2
    compat.eventlet.green.profile compat.eventlet.green.MySQLdb compat.eventlet.green.zmq
    compat.eventlet.green.OpenSSL.SSL compat.eventlet.green.OpenSSL.crypto compat.eventlet.green.OpenSSL.version
    compat.eventlet.green.OpenSSL.tsafe
    compat.eventlet.__main__
    engine.fdlimit engine.order engine.ports engine.window engine.timing engine.pace engine.conntrack engine.targets
    engine.ledger engine.shortage engine.frames engine.processes
    engine.probes.probe engine.probes.ber engine.probes.web engine.probes.mail engine.probes.ssh engine.probes.databases
    engine.probes.caches engine.probes.messaging engine.probes.desktop engine.probes.directory
    engine.probes.certificates engine.probes.datagrams engine.probes.registry
    engine.verdicts engine.scanplan engine.starts engine.gate engine.way engine.hosts engine.connector
    engine.udp engine.findings engine.probing engine.waiting engine.judge engine.workers engine.scanner
    engine.link engine.services engine.examined engine.icmp engine.discovery engine.scan_shards
    engine.lineforms engine.repeats engine.urllist engine.conditions engine.similarity engine.facts
    engine.politeness engine.turn engine.earlier engine.fetchplan engine.favicons engine.attempts
    engine.givenup engine.schemes engine.visits engine.aside engine.fetcher
    engine.journal engine.tally engine.shards engine.bodystore
    engine.canonical engine.links engine.sitemaps engine.robots engine.scope engine.budgets
    engine.reading engine.reading_process engine.readers engine.frontier engine.sqlite_frontier engine.crawlplan
    engine.linkrules engine.crawlhosts engine.pagerecords engine.robotsreader
    engine.devtools engine.browser engine.rendering engine.bodyroom engine.crawlvisits engine.crawler crawling
    engine.cluster
    engine.pacing engine.namelist engine.resolveplan engine.resolving engine.wildcards engine.referral engine.tracing
    serving
    reporting.findings reporting.page reporting.scan_changes reporting.scan_findings reporting.crawl_findings
    commands.config commands.options commands.sections commands.given commands.companions commands.distinct
    commands.name_servers commands.request_body commands.route_options commands.trust_options commands.output
    commands.regularly commands.progress commands.plain_progress commands.keys commands.garbage commands.counted
    commands.warc commands.database commands.recording
    commands.fetch_options commands.fetch_plan commands.fetch_shard commands.fetch_summary
    commands.scan_table commands.scan_options commands.scan_plan commands.scan_journal
    commands.scan_formats commands.scan_sink commands.scan_shard commands.scan_says
    commands.zone_format commands.diff commands.report commands.fetch commands.resolve commands.probes commands.scan
    commands.serve
    commands.crawl_graph commands.crawl_links commands.crawl_database commands.crawl_results commands.crawl_options
    commands.crawl
    commands.demosite commands.demo
    cli __main__
""".split()

MAY_IMPORT_BY_NAME = {"__init__.py", "http/__init__.py", "cli.py", "copies.py", "lazy.py", "patcher.py"}
MAY_IMPORT_BY_NAME |= {"app_loader.py"}  # what users name
MAY_IMPORT_BY_NAME |= {f"compat/eventlet/{name}.py" for name in ("standin", "optional", "patcher")}  # what users name
MAY_IMPORT_BY_NAME |= {"compat/eventlet/hubs/choice.py"}  # what users name
MAY_IMPORT_BY_NAME |= {"compat/eventlet/greenthread.py"}  # asyncio, for who awaits a greenthread
MAY_IMPORT_BY_NAME |= {"compat/eventlet/green/lazily.py"}  # attributes of a package
LATE_IMPORTS = {"cli.py"}

MAX_FUNCTION, MAX_FILE, MAX_NESTING, MAX_COMPLEXITY = 60, 500, 4, 15
LONGER_FUNCTIONS: dict[tuple[str, str], int] = {}
LONGER_FILES = {"http/wire.py": 550}  # the HTTP state machine
MEDIAN_FUNCTION, P95_FUNCTION, P95_NESTING, P95_COMPLEXITY = 8, 40, 2, 8


def module_name(path: Path) -> str:
    """Return "http.wire" for greenprobe/http/wire.py."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def relative(path: Path) -> str:
    """Return "http/wire.py"."""
    return path.relative_to(PACKAGE).as_posix()


SOURCES = sorted(PACKAGE.rglob("*.py"))
MODULES = [path for path in SOURCES if path.name != "__init__.py"]
PUBLIC_PACKAGES = {"http"}  # their __init__ hands names out lazily, as that of greenprobe does
INNER_INITS = [
    path
    for path in SOURCES
    if path.name == "__init__.py" and path.parent != PACKAGE and path.parent.name not in PUBLIC_PACKAGES
]
# The packages of eventlet's interface hand out its names, as users import them from there. Nothing inside does.
FACADES = [path for path in INNER_INITS if path.is_relative_to(PACKAGE / "compat" / "eventlet")]
PUBLIC: list[str] = vars(greenprobe)["__all__"]
KNOWN = frozenset(f"greenprobe.{module_name(path)}" for path in MODULES)
TESTS = sorted((ROOT / "tests").rglob("*.py"))


class Shape(NamedTuple):
    """What the rules ask of a file of ours. Its tree is large and slow to make: it is made once, and not kept."""

    imports: list[Import]
    by_name: list[str]  # calls that import by a name in a string
    functions: list[Function]


@cache
def shape_of(path: Path) -> Shape:
    """Read a file's tree."""
    tree = parse(path)
    package = ".".join(["greenprobe", *path.relative_to(PACKAGE).parts[:-1]])
    by_name = [
        f"{relative(path)}:{node.lineno} {ast.unparse(node)}"
        for node, name in calls(tree)
        if name.split(".")[-1] in {"import_module", "__import__"}
    ]
    return Shape([*imports(tree, package, KNOWN)], by_name, [*functions(tree)])


FIGURES = [(relative(path), function) for path in SOURCES for function in shape_of(path).functions]


def own_imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield (module, line) of what a file imports from greenprobe itself."""
    for found in shape_of(path).imports:
        if found.module == "greenprobe" or found.module.startswith("greenprobe."):
            yield found.module, found.line


# -- layers


def test_every_file_is_in_the_list_once() -> None:
    assert len(LAYERS) == len(set(LAYERS))
    unlisted = [relative(path) for path in MODULES if module_name(path) not in LAYERS]
    assert not unlisted, f"add to LAYERS, at the place where they belong: {unlisted}"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_file_imports_only_from_files_above_it(path: Path) -> None:
    above = {f"greenprobe.{name}" for name in LAYERS[: LAYERS.index(module_name(path))]}
    wrong = [f"{relative(path)}:{line} imports {name}" for name, line in own_imports(path) if name not in above]
    assert not wrong, "\n".join(wrong)  # `greenprobe` itself and a sub-package are above nothing: name the module


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_file_imports_inside_a_function(path: Path) -> None:
    late = [f"{relative(path)}:{each.line} imports {each.module} late" for each in shape_of(path).imports if each.late]
    assert not late or relative(path) in LATE_IMPORTS, "\n".join(late)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_the_lazy_places_import_by_a_name_in_a_string(path: Path) -> None:
    found = shape_of(path).by_name
    assert not found or relative(path) in MAY_IMPORT_BY_NAME, "\n".join(found)


@pytest.mark.parametrize("path", [path for path in INNER_INITS if path not in FACADES], ids=relative)
def test_the_init_file_of_a_sub_package_is_empty(path: Path) -> None:
    assert path.read_text("utf-8").strip() == ""


@pytest.mark.parametrize("path", FACADES, ids=relative)
def test_a_facade_hands_out_names_and_does_nothing_else(path: Path) -> None:
    docstring, *rest = parse(path).body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(docstring.value, ast.Constant)
    assert all(isinstance(statement, ast.Import | ast.ImportFrom | ast.Assign) for statement in rest)
    known = {f"greenprobe.{name}" for name in LAYERS}
    assert {module for module, _ in own_imports(path)} <= known, "a facade imports from modules"


def test_only_compat_and_its_users_know_compat() -> None:
    outside = (path for path in MODULES if not path.is_relative_to(PACKAGE / "compat"))
    below = [path for path in outside if "compat" in path.read_text("utf-8")]
    assert not [relative(path) for path in below for name, _ in own_imports(path) if ".compat" in name]


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in MODULES}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").exists()]


def loaded_by(code: str) -> list[str]:
    """Return the modules that a fresh interpreter has loaded after `code`, and had not before."""
    program = f"import json, sys; old = {{*sys.modules}}; {code}; print(json.dumps(sorted({{*sys.modules}} - old)))"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, cwd=ROOT)
    names: list[str] = json.loads(done.stdout)
    return names


def test_importing_greenprobe_loads_nothing_else() -> None:
    assert loaded_by("import greenprobe") == ["greenprobe"]


def test_type_checkers_see_the_public_names_and_no_others() -> None:
    stub = parse(PACKAGE / "__init__.pyi")
    named = {alias.asname for node in ast.walk(stub) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert named | {"__version__"} == set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(greenprobe, name) is not None


@pytest.mark.parametrize("name", greenprobe.http.__all__)
def test_every_public_name_of_http_is_there(name: str) -> None:
    assert getattr(greenprobe.http, name) is not None


def test_no_public_name_hides_a_module() -> None:
    assert not set(PUBLIC) & {module_name(path).split(".")[0] for path in MODULES}


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'no_such_name'"):
        greenprobe.no_such_name  # type: ignore[attr-defined]  # noqa: B018 - the look-up is the test


def test_the_core_loads_nothing_installed_but_greenlet() -> None:
    loaded = loaded_by("from greenprobe import GreenPool, Queue, Timeout, spawn, sleep")
    installed = {name.split(".")[0] for name in loaded} - sys.stdlib_module_names
    assert installed == {"greenprobe", "greenlet"}


def test_the_command_line_says_its_version_without_loading_an_engine() -> None:
    loaded = loaded_by("import greenprobe.cli")
    assert not [name for name in loaded if name.split(".")[0] in {"rich", "dns", "orjson", "httptools"}]
    assert not [name for name in loaded if name.startswith(("greenprobe.engine", "greenprobe.commands"))]


# -- budgets


def over(figure: str, limit: int) -> list[str]:
    """Return the functions whose `figure` is over `limit`, each with its place."""
    return [
        f"greenprobe/{file}:{function.line} {function.name}: {figure} {getattr(function, figure)} > {allowed}"
        for file, function in FIGURES
        if getattr(function, figure) > (allowed := allowance(file, function, figure, limit))
    ]


def allowance(file: str, function: Function, figure: str, limit: int) -> int:
    """Return the limit for one function: the few that are exempt are in a table."""
    return LONGER_FUNCTIONS.get((file, function.name), limit) if figure == "lines" else limit


@pytest.mark.parametrize(
    ("figure", "limit"), [("lines", MAX_FUNCTION), ("nesting", MAX_NESTING), ("complexity", MAX_COMPLEXITY)]
)
def test_no_function_outgrows_its_budget(figure: str, limit: int) -> None:
    faults = over(figure, limit)
    assert not faults, "\n".join(faults)


def test_no_file_outgrows_its_budget() -> None:
    lines = {relative(path): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    faults = [
        f"greenprobe/{file}: {count} lines > {LONGER_FILES.get(file, MAX_FILE)}"
        for file, count in lines.items()
        if count > LONGER_FILES.get(file, MAX_FILE)
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("figure", "share", "limit"),
    [("lines", 0.95, P95_FUNCTION), ("nesting", 0.95, P95_NESTING), ("complexity", 0.95, P95_COMPLEXITY)],
)
def test_the_package_as_a_whole_keeps_its_shape(figure: str, share: float, limit: int) -> None:
    values = [getattr(function, figure) for _, function in FIGURES]
    found = percentile(values, share)
    worst = sorted(FIGURES, key=lambda each: -int(getattr(each[1], figure)))[:10]
    places = [f"greenprobe/{file}:{each.line} {each.name}: {getattr(each, figure)}" for file, each in worst]
    assert found <= limit, f"{figure}: {found} at {share:.0%} > {limit}; the worst:\n" + "\n".join(places)


def test_half_of_the_functions_are_short() -> None:
    assert statistics.median(function.lines for _, function in FIGURES) <= MEDIAN_FUNCTION


def test_an_exemption_is_taken_back_when_it_is_not_needed() -> None:
    needed = {(file, function.name) for file, function in FIGURES if function.lines > MAX_FUNCTION}
    assert set(LONGER_FUNCTIONS) <= needed | {("hub.py", "_turns")}, "the loop alone may keep room it does not use"


# -- what tests may not do

SERVER_CALLS = {"bind", "listen", "create_server", "serve"}
LONGEST_REAL_SLEEP = 0.05  # a test of what a blocked hub does must block it


def constant(node: ast.expr | None) -> object:
    """Return the value of a literal, else None."""
    return node.value if isinstance(node, ast.Constant) else None


def sleeps_long(call: ast.Call) -> bool:
    """Tell whether a call of time.sleep() sleeps for long, or for who knows how long."""
    seconds = constant(call.args[0]) if call.args else 0
    return not isinstance(seconds, int | float) or seconds > LONGEST_REAL_SLEEP


def serves_on_a_fixed_port(call: ast.Call) -> bool:
    """Tell whether a call that takes an address takes one with a port."""
    address = call.args[0] if call.args else None
    return isinstance(address, ast.Tuple) and len(address.elts) > 1 and constant(address.elts[1]) not in {0, None}


class Faults(NamedTuple):
    """The calls in a file of tests that it may not make."""

    sleeps: list[str]
    ports: list[str]


@cache
def faults_of(path: Path) -> Faults:
    """Read a file's tree."""
    tree, faults, names = parse(path), Faults([], []), {"time.sleep"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            names |= {alias.asname or alias.name for alias in node.names if alias.name == "sleep"}
    for call, name in calls(tree):
        if name in names and sleeps_long(call):
            faults.sleeps.append(f"tests/{path.name}:{call.lineno} {ast.unparse(call)}")
        if name.split(".")[-1] in SERVER_CALLS and serves_on_a_fixed_port(call):
            faults.ports.append(f"tests/{path.name}:{call.lineno} {ast.unparse(call)}")
    return faults


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_no_test_sleeps_real_seconds(path: Path) -> None:
    faults = faults_of(path).sleeps
    assert not faults, "wait for a state, or take the jumping clock:\n" + "\n".join(faults)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_no_test_serves_on_a_fixed_port(path: Path) -> None:
    faults = faults_of(path).ports
    assert not faults, "bind port 0:\n" + "\n".join(faults)


# -- the rules themselves can fail


def figures_of(source: str) -> Function:
    """Return the figures of the first function of `source`."""
    return next(functions(ast.parse(source)))


def test_figures_are_what_a_reader_would_count() -> None:
    source = '''
def f(x):
    """Two lines of
    docstring."""
    if x and x > 1:
        for y in x:
            pass
    elif x is None:
        with x:
            return [z for z in x if z]
    return 0 if x else 1
'''
    assert figures_of(source) == Function("f", 2, lines=8, nesting=2, complexity=8)


def test_imports_are_seen_late_relative_and_not_when_only_for_types() -> None:
    source = """
import a.b
from typing import TYPE_CHECKING
from greenprobe import hub
from . import wire
from .wire import Head
if TYPE_CHECKING:
    import unseen
def f():
    import late
"""
    known = frozenset({"greenprobe.hub", "greenprobe.http.wire"})
    found = [(each.module, each.late) for each in imports(ast.parse(source), "greenprobe.http", known)]
    expected = ["a.b", "typing", "greenprobe.hub", "greenprobe.http.wire", "greenprobe.http.wire"]
    assert found == [*((module, False) for module in expected), ("late", True)]
