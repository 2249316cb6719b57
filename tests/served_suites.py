"""The test suites of HTTP clients, against httpbin (or their own application) as `greenprobe serve` serves it.

    python tests/served_suites.py requests          # or httpx; what follows is given to pytest

The suite is that of the client that is installed here, with what its tests need (requests: trustme, PySocks; httpx: its
extras, chardet 5, trio, uvicorn): its source release is fetched from PyPI. It runs as root in a
network namespace whose way out swallows every packet, as the tests of connect timeouts need an address where nobody
answers. This file is also the pytest plugin that puts our server in place of the suite's own.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

import pytest
import trustme
from core_tools import is_installed, succeeds

HERE: Final = Path(__file__).resolve()
NAMESPACE: Final = """
ip link set lo up && ip link add out type veth peer name void && ip link set void up && ip link set out up &&
ip address add 192.0.2.1/24 dev out && ip neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev out &&
ip route add default via 192.0.2.2 && exec "$@"
"""
NEEDS: Final = {
    "requests": ["requests", "httpbin", "trustme", "socks"],
    "httpx": ["httpx", "h2", "socksio", "click", "chardet", "trio", "uvicorn", "trustme"],
}
WITHOUT: Final[dict[str, list[str]]] = {
    "requests": [],
    # The first spells out uvicorn's Server field, the others need the Internet; the last is about what tests leave.
    "httpx": [
        *("--ignore", "tests/test_main.py"),
        *("-m", "not network"),
        *("-W", "ignore::pytest.PytestUnraisableExceptionWarning"),
    ],
}


def fetch_suite(name: str, folder: Path) -> Path:
    """Return the folder of the source release of an installed client. Raises CalledProcessError without a network."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*pip, f"{name}=={version(name)}", "-d", folder], check=True, capture_output=True)
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def run_suite(name: str, *words: str) -> tuple[int, str]:
    """Run the suite of a client with our server; return pytest's exit status and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        root = fetch_suite(name, Path(folder))
        plugin = ["-p", HERE.stem, "-p", "no:cacheprovider", "-p", "no:pytest_httpbin", "-p", "no:pytest_nameko"]
        pytest_words = [sys.executable, "-m", "pytest", "-q", *plugin, *WITHOUT[name], *words, "tests"]
        done = subprocess.run(
            ["unshare", "-n", "sh", "-c", NAMESPACE, "sh", *pytest_words],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(HERE.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    return done.returncode, done.stdout


def can_run(name: str) -> bool:
    """Tell whether this machine and this environment can run a suite at all."""
    return all(map(is_installed, NEEDS[name])) and succeeds("unshare", "-n", "sh", "-c", NAMESPACE, "sh", "true")


# -- the plugin


class Served:
    """What the suites know of their server: `url`, and `join` and `+` for paths."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __add__(self, path: str) -> str:
        return self.url + path

    def join(self, path: str) -> str:
        """Return the URL of a path."""
        return urljoin(self.url, path)


@contextmanager
def serving(app: str, *words: str, port: int = 0) -> Iterator[Served]:
    """Serve an application by the command, as a user would."""
    command = [sys.executable, "-m", "greenprobe", "serve", app, "--bind", f"127.0.0.1:{port}", "--patch", *words]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stderr=subprocess.PIPE, stdout=log, text=True) as process,
    ):
        assert process.stderr is not None
        try:
            yield Served(url_in(process.stderr))
        finally:
            process.terminate()
            process.stderr.read()


def url_in(lines: Iterable[str]) -> str:
    """Return the URL that our server says; the application may say something before, as httpbin does of flasgger."""
    said = []
    for line in lines:
        if (found := re.search(r"^serving \S+ at (https?://\S+[^/\s])", line)) is not None:
            return found[1]
        said.append(line)
    raise AssertionError(f"it does not serve: {''.join(said)}")


@pytest.fixture(scope="session")
def httpbin() -> Iterator[Served]:
    """An httpbin."""
    with serving("httpbin:app") as served:
        yield served


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who signs the certificate of the httpbin that speaks TLS."""
    return trustme.CA()


@pytest.fixture(scope="session")
def httpbin_secure(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An httpbin that speaks TLS."""
    path = tmp_path_factory.mktemp("certificate") / "chain.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    with serving("httpbin:app", "--tls-cert", str(path)) as served:
        yield served


@pytest.fixture
def httpbin_ca_bundle(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have requests trust it."""
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))


class ServedAsgi:
    """Stands in for uvicorn's Server, which httpx's suite runs in a thread: serves the suite's application, --asgi."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.started = self.should_exit = False

    def run(self) -> None:
        """Serve until somebody sets `should_exit`."""
        with serving("tests.conftest:app", "--asgi", port=self.config.port):
            self.started = True
            while not self.should_exit:
                time.sleep(0.05)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Put it in uvicorn's place before the suite's conftest takes that."""
    if is_installed("uvicorn"):
        import_module("uvicorn.server").Server = ServedAsgi  # type: ignore[attr-defined]


def main() -> int:
    status, out = run_suite(sys.argv[1], *sys.argv[2:])
    sys.stdout.write(out)
    return status


if __name__ == "__main__":
    sys.exit(main())
