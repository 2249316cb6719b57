"""All probes: which fits a port, and whose words some bytes are. Users add their own, from TOML or by entry point.

A TOML file has tables `[[probe]]` with `name`, `hello` (text with \\r, \\n, \\x.. escapes; none: it is listened to),
`ports`, and `match`: a regular expression whose named groups become fields. An entry point of the group
`greenprobe.probes` names a `Probe`.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from greenprobe.engine.probes.caches import MEMCACHED, REDIS
from greenprobe.engine.probes.databases import MONGODB, MYSQL, POSTGRESQL
from greenprobe.engine.probes.desktop import RDP, VNC
from greenprobe.engine.probes.directory import DNS, LDAP, SMB
from greenprobe.engine.probes.mail import FTP, IMAP, POP3, SMTP
from greenprobe.engine.probes.messaging import AMQP, MQTT
from greenprobe.engine.probes.probe import MORE, OTHER, Fields, Heard, Parse, Probe, text_of
from greenprobe.engine.probes.ssh import SSH
from greenprobe.engine.probes.web import HTTP
from greenprobe.errors import TargetError

__all__ = ["BUILT_IN", "Registry", "load_probes"]

# In the order in which they are tried where the port says nothing: what is met most often first.
BUILT_IN: Final = (
    *(HTTP, SSH, SMTP, FTP, IMAP, POP3, MYSQL, VNC, REDIS, POSTGRESQL, MEMCACHED, MONGODB),
    *(RDP, SMB, LDAP, MQTT, AMQP, DNS),
)
GROUP: Final = "greenprobe.probes"
MAX_MATCHED: Final = 4096  # bytes that a user's expression is given


class Registry:
    """The probes of a run."""

    def __init__(self, own: Sequence[Probe] = ()) -> None:
        self.probes = (*own, *BUILT_IN)
        self._by_port = _by_port(self.probes, "ports")
        self._by_secure_port = _by_port(self.probes, "secure_ports")

    def for_port(self, port: int) -> list[Probe]:
        """Return the probes that expect their protocol at `port`."""
        return self._by_port.get(port, [])

    def for_secure_port(self, port: int) -> list[Probe]:
        """Return the probes that expect their protocol inside TLS at `port`."""
        return self._by_secure_port.get(port, [])

    def others(self, tried: Iterable[Probe]) -> list[Probe]:
        """Return the probes that begin themselves and are not among those that were tried."""
        names = {probe.name for probe in tried}
        return [probe for probe in self.probes if probe.hello and not probe.greets and probe.name not in names]

    def identify(self, said: bytes, port: int) -> tuple[Probe, Fields] | None:
        """Return whose words these are, and their fields; those that fit the port are asked first."""
        fitting = [*self.for_port(port), *self.for_secure_port(port)]
        for probe in (*fitting, *self.probes):
            found = probe.parse(said, True)
            if not isinstance(found, Heard):
                return probe, found
        return None


def _by_port(probes: Iterable[Probe], which: str) -> dict[int, list[Probe]]:
    found: dict[int, list[Probe]] = {}
    for probe in probes:
        for port in getattr(probe, which):
            found.setdefault(port, []).append(probe)
    return found


def load_probes(path: Path | None) -> list[Probe]:
    """Return the probes of a TOML file and of installed entry points. Raises TargetError, which names the fault."""
    found = [] if path is None else _from_toml(path)
    for entry in entry_points(group=GROUP):
        probe = entry.load()
        if not isinstance(probe, Probe):
            raise TargetError(f"entry point {entry.name!r} of {GROUP} is no Probe; name a greenprobe Probe")
        found.append(probe)
    return found


def _from_toml(path: Path) -> list[Probe]:
    try:
        tables = tomllib.loads(path.read_text("utf-8")).get("probe", [])
    except OSError as exc:
        raise TargetError(f"cannot read probes from {path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise TargetError(f"{path} is no TOML: {exc}") from exc
    if not isinstance(tables, list) or not tables:
        raise TargetError(f"{path} has no [[probe]]; write one with name and match")
    return [_probe(path, table) for table in tables]


KINDS: Final = {"name": str, "hello": str, "ports": list, "match": str, "about": str}


def _probe(path: Path, table: Mapping[str, Any]) -> Probe:
    ports = _checked(path, table)
    try:
        pattern = re.compile(table["match"].encode(), re.DOTALL)
        hello = _escaped(table.get("hello", ""))
    except (re.error, ValueError) as exc:
        raise TargetError(f"{path}: probe {table['name']!r}: {exc}") from exc
    return Probe(
        name=table["name"],
        about=table.get("about", f"from {path.name}"),
        parse=_matcher(pattern),
        hello=hello,
        greets=not hello,
        ports=tuple(ports),
        fields=dict.fromkeys(pattern.groupindex, "a group of its expression"),
    )


def _checked(path: Path, table: Mapping[str, Any]) -> list[int]:
    """Return the ports of a probe, whose keys and values are as they should be. Raises TargetError."""
    for key, value in table.items():
        if key not in KINDS or not isinstance(value, KINDS[key]):
            raise TargetError(f"{path}: {key!r} = {value!r} is not understood; a probe has {', '.join(KINDS)}")
    if not (table.get("name") and table.get("match")):
        raise TargetError(f"{path}: a probe needs name and match")
    ports: list[Any] = table.get("ports", [])
    if not all(isinstance(port, int) and 0 < port < 65536 for port in ports):
        raise TargetError(f"{path}: ports of {table['name']!r} are not all 1 to 65535")
    return ports


def _escaped(text: str) -> bytes:
    return text.encode("utf-8").decode("unicode_escape").encode("latin-1") if "\\" in text else text.encode()


def _matcher(pattern: re.Pattern[bytes]) -> Parse:
    def parse(data: bytes, is_over: bool) -> Fields | Heard:
        found = pattern.match(data[:MAX_MATCHED])
        if found is None:
            return OTHER if is_over or len(data) >= MAX_MATCHED else MORE
        return {name: text_of(value or b"") for name, value in found.groupdict().items()}

    return parse
