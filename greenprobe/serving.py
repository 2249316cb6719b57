"""What `greenprobe serve` does, as a plan: an application or a folder, where, with how many processes, and how."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import iscoroutinefunction
from socket import AF_UNIX, AF_UNSPEC, socket
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import Any, TextIO

from greenprobe.acceptor import hold_off
from greenprobe.access_log import FORMATS, AccessLog
from greenprobe.aio import stop_background_loop
from greenprobe.app_loader import load_app
from greenprobe.asgi import AsgiApp, Lifespan
from greenprobe.engine.fdlimit import raise_limit
from greenprobe.errors import TargetError
from greenprobe.graceful import serve_until_stopped
from greenprobe.greenthread import spawn
from greenprobe.http.forwarded import TrustedProxies
from greenprobe.http.trust import tls_reason
from greenprobe.listeners import Bind, inherited_listeners, open_listener, url_of
from greenprobe.module_watch import watch_modules
from greenprobe.patcher import monkey_patch
from greenprobe.process import report
from greenprobe.static_files import StaticFiles
from greenprobe.supervisor import CANNOT_START, Supervisor, WorkerLinks
from greenprobe.wsgi import STOP_TIMEOUT, Server
from greenprobe.wsgi_connection import Application, Limits, Timeouts

__all__ = ["ServePlan", "serve_plan"]


@dataclass(frozen=True)
class ServePlan:
    """What to serve (the name of an application, or a folder) and how. `log_format` None writes no access log."""

    target: str
    binds: tuple[Bind, ...]
    processes: int = 1
    listing: bool = False
    tls_cert: str | None = None
    tls_key: str | None = None
    log_format: str | None = None
    log_file: str = "-"
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    proxies: TrustedProxies | None = None
    proxy_protocol: bool = False
    reuse_port: bool = False
    reload: bool = False
    asgi: bool = False
    patch: bool = False
    server_header: bool = True
    stop_timeout: float = STOP_TIMEOUT


def serve_plan(plan: ServePlan, tell: Callable[[str], object]) -> int:
    """Serve until a signal says stop; return an exit status. `tell` gets a line of text when something happens.

    Raises TargetError and OSError for what is wrong before the first worker is started.
    """
    context_of(plan)  # a wrong certificate is found now, and read again by each worker
    check_target(plan.target)
    listeners = inherited_listeners(os.environ)
    ours: list[socket] = []
    try:
        for bind in plan.binds if not listeners else ():
            listeners.append(open_listener(bind, reuse_port=plan.reuse_port))
            if bind.family != AF_UNSPEC:
                ours.append(listeners[-1])
        return Supervisor(
            partial(be_worker, plan, listeners, tell),
            plan.processes,
            stop_timeout=plan.stop_timeout,
            tell=tell,
            on_ready=partial(tell_where, plan, listeners, tell),
            on_stop=partial(close_all, ours),
        ).run()
    finally:
        close_all(ours)
        for listener in listeners:
            listener.close()


def check_target(target: str) -> None:
    """Raise TargetError for what can be neither a folder nor the name of an application."""
    name, colon, app = target.partition(":")
    if colon and os.sep not in name and os.path.isfile(name):
        raise TargetError(f"{name} is a file; write its module, as in {name.removesuffix('.py')}:{app or 'app'}")
    if not os.path.isdir(target) and (os.sep in name or os.path.isfile(target)):
        raise TargetError(f"{target} is no folder; write one, or MODULE:APP, as in mysite.wsgi:app")


def tell_where(plan: ServePlan, listeners: Sequence[socket], tell: Callable[[str], object]) -> None:
    """Say where requests are answered."""
    for listener in listeners:
        tell(f"serving {plan.target} at {url_of(listener, is_secure=plan.tls_cert is not None)}")


def close_all(listeners: Sequence[socket]) -> None:
    """Close listeners that we opened, for all who share them, and remove the paths of Unix ones.

    Not those that a service manager passed: it goes on to listen there, and starts us again when somebody comes.
    """
    for listener in listeners:
        if listener.fileno() >= 0:
            hold_off(listener)
        if listener.fileno() >= 0 and listener.family == AF_UNIX:
            try:
                os.unlink(listener.getsockname())
            except OSError:
                pass  # abstract, or somebody was faster
        listener.close()


def context_of(plan: ServePlan) -> SSLContext | None:
    """Return the TLS context of a plan. Raises TargetError that names the file."""
    if plan.tls_cert is None:
        return None
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(plan.tls_cert, plan.tls_key)
    except OSError as error:
        files = plan.tls_cert if plan.tls_key is None else f"{plan.tls_cert} and {plan.tls_key}"
        raise TargetError(f"--tls-cert {files}: {tls_reason(error)}") from error
    return context


def be_worker(plan: ServePlan, listeners: Sequence[socket], tell: Callable[[str], object], links: WorkerLinks) -> int:
    """Be one worker process; return its exit status."""
    raise_limit()
    if plan.patch:
        monkey_patch()
    try:
        app = application_of(plan)
        lifespan = Lifespan(app) if plan.asgi else None
        if lifespan is not None:
            lifespan.startup()
            app = AsgiApp(app, lifespan.state)
        log_fd = None if plan.log_format is None else open_log(plan.log_file)
    except (TargetError, OSError) as error:
        tell(f"Error: {error}")
        return CANNOT_START
    except Exception as error:
        report(error)
        tell(f"Error: the application {plan.target} cannot be loaded: {type(error).__name__}: {error}")
        return CANNOT_START
    log = None if log_fd is None else AccessLog(log_fd, FORMATS[plan.log_format or "combined"], tell=tell)
    servers = [server_of(plan, app, listener, log, sys.stderr) for listener in listeners]
    for listener in listeners:
        listener.close()  # each server has its own descriptor, and closes it when it stops
    if plan.reload:
        spawn(watch_modules, partial(os.kill, os.getppid(), signal.SIGHUP))
    serve_until_stopped(
        servers,
        signals=[signal.SIGTERM],
        stop_timeout=plan.stop_timeout,
        on_ready=links.say_ready,
        lifeline=links.lifeline_fd,
    )
    if lifespan is not None:
        lifespan.shutdown()
        stop_background_loop()
    if log is not None:
        log.close()
    return 0


def application_of(plan: ServePlan) -> Any:
    """Return the application of a plan: a folder's, or the one that is named."""
    if os.path.isdir(plan.target):
        return StaticFiles(plan.target, listing=plan.listing)
    app = load_app(plan.target)
    if not callable(app):
        raise TargetError(f"{plan.target} is no application but {type(app).__name__}, which cannot be called")
    if not plan.asgi and (iscoroutinefunction(app) or iscoroutinefunction(type(app).__call__)):
        raise TargetError(f"{plan.target} is an ASGI application; say --asgi")
    return app


def open_log(path: str) -> int:
    """Return a descriptor to write a log to; `-` is standard output. Raises OSError that names the file."""
    if path == "-":
        return 1
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise OSError(f"cannot write to {path}: {error.strerror}") from error


def server_of(plan: ServePlan, app: Application, listener: socket, log: AccessLog | None, errors: TextIO) -> Server:
    """Return a server for one of the listeners."""
    return Server(
        socket(fileno=os.dup(listener.fileno())),
        app,
        context=context_of(plan),
        limits=plan.limits,
        timeouts=plan.timeouts,
        log=log,
        errors=errors,
        environ={"wsgi.multiprocess": plan.processes > 1},
        server_header="greenprobe" if plan.server_header else None,
        proxies=plan.proxies,
        proxy_protocol=plan.proxy_protocol,
        shares_listener=True,
    )
