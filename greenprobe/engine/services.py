"""What speaks at an open port: listen, then ask with the probe that fits the port, then with the others.

Who speaks first is listened to. A port where the client begins is asked at once by the probe that fits it, any other
port after LISTEN seconds of silence: with HTTP, over TLS, and with the rest side by side. Whatever comes back is shown
to all parsers, since a mail server names itself to a GET, too; who is known by the answer to another's question is
then asked with its own, which tells more (RabbitMQ's version, not only that it speaks AMQP). In TLS the same begins
again inside.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from ssl import SSLError
from typing import Final, NamedTuple

from greenprobe.engine.link import Door, Link, open_link
from greenprobe.engine.probes.probe import Fields, Heard, Probe, text_of
from greenprobe.engine.probes.registry import BUILT_IN, Registry
from greenprobe.engine.probes.web import HTTP
from greenprobe.engine.scanplan import Service
from greenprobe.greenthread import spawn
from greenprobe.hub import get_hub
from greenprobe.queue import Queue

__all__ = ["Examiner"]

LISTEN: Final = 0.5  # seconds for a server to speak first where it is not expected to
FITTING: Final = 5.0  # seconds for an answer where the probe fits the port
COMMON: Final = 1.5  # seconds for an answer to HTTP, or more of what has begun well
OTHER_PROBE: Final = 1.0  # seconds for an answer to a probe that is only a guess
ROUND_TRIPS: Final = 4  # that each of these is longer on a long way
LONG_WAY: Final = 0.6  # seconds; a longer first answer was slow for another reason
AT_ONCE: Final = 6  # guesses at one port side by side
SECURE_NAMES: Final = {probe.name: probe.secure_name for probe in BUILT_IN}
TOLD_TO_USE_TLS: Final = b"HTTPS"
NO_ALPN: Final = "NO_APPLICATION_PROTOCOL"

Way = Callable[[Door], Service | None]


class Meeting(NamedTuple):
    """The first conversation: what was found; else what was asked and said, and what to say if nothing better comes."""

    service: Service | None
    probe: Probe
    said: bytes = b""
    has_hung_up: bool = False
    instead: Service | None = None


class Examiner:
    """Asks open ports what they speak, with the probes of `registry`. `only_banner` listens and asks little."""

    def __init__(self, registry: Registry, *, only_banner: bool = False) -> None:
        self._registry = registry
        self._only_banner = only_banner
        self._clock = get_hub().clock

    def examine(self, door: Door) -> Service:
        """Return what speaks at a port. Raises nothing that a server can cause."""
        try:
            return self._examine(door)
        except OSError as exc:
            return Service("", note=f"gone: {text_of(str(exc.strerror or exc).encode())}")

    def _examine(self, door: Door) -> Service:
        is_secure = bool(self._registry.for_secure_port(door.port))
        found = self._ask_in_tls(door, FITTING) if is_secure else None
        if found is not None:
            return found
        first = self._meet(door, is_expected_to_greet=not is_secure)
        if first.service is not None:
            return first.service
        ways: list[Way] = [] if is_secure else [self._ask_in_tls]
        if first.has_hung_up and ways:
            found = ways.pop()(door) or first.instead
        if found is None and not self._only_banner:
            ways += [partial(self._ask_alone, probe) for probe in self._registry.others([first.probe])]
            found = self._try_all(door, ways)
        return Service("", banner=text_of(first.said)) if found is None else found

    def _meet(self, door: Door, *, is_expected_to_greet: bool) -> "Meeting":
        """Connect, listen where a server may speak first, else ask with what fits the port, or HTTP."""
        fitting = self._registry.for_port(door.port)
        first = next((probe for probe in fitting if not probe.greets), None)
        probe = first or HTTP
        with open_link(door, self._patience(FITTING, door)) as link:
            if first is None:
                link.read(self._deadline(FITTING if fitting and is_expected_to_greet else LISTEN, door))
            if link.said:
                return Meeting(self._greeted(link, door), probe)
            if link.end:
                return Meeting(Service("", note=f"{link.end} at once"), probe)
            found = self._ask(link, door, probe, FITTING if first else COMMON)
            has_hung_up = not link.is_quiet
            if found is not None and found.name == "http" and TOLD_TO_USE_TLS in link.said:
                return Meeting(None, probe, link.said, has_hung_up, found)
        return Meeting(found and self._asked_properly(found, probe, door), probe, link.said, has_hung_up)

    def _asked_properly(self, found: Service, asked: Probe, door: Door) -> Service:
        """Ask with its own probe a service that another's question made known; return what tells more."""
        if found.name == asked.name or self._only_banner:
            return found
        own = next((probe for probe in self._registry.others([]) if probe.name == found.name), None)
        better = self._ask_once(own, door) if own is not None else None
        return better if better is not None and better.name == found.name else found

    def _ask(self, link: Link, door: Door, probe: Probe, seconds: float) -> Service | None:
        """Say a probe's hello; return what the answer says, whoever's it is; None if nobody knows it."""
        link.forget()
        link.send(probe.hello, self._patience(seconds, door))
        fields = self._hear(link, probe, self._deadline(seconds, door))
        if link.said and link.said == probe.hello:  # even if it reads like an answer, as SMB's does
            return Service("echo", banner=text_of(link.said))
        if fields is not None:
            return self._service(link, door, probe, fields)
        found = self._registry.identify(link.said, door.port) if link.said else None
        return self._service(link, door, *found) if found else None

    def _hear(self, link: Link, probe: Probe, deadline: float) -> Fields | None:
        """Read until a parser is content, or knows that it never will be."""
        while True:
            found = probe.parse(link.said, False)
            if not isinstance(found, Heard):
                return found
            if found is Heard.OTHER or not link.read(deadline):
                found = probe.parse(link.said, True)
                return None if isinstance(found, Heard) else found

    def _greeted(self, link: Link, door: Door, secure: Fields | None = None) -> Service:
        """Go on with a server that has spoken first."""
        deadline = self._deadline(LISTEN, door)
        found = self._registry.identify(link.said, door.port)
        while found is None and link.read(deadline):
            found = self._registry.identify(link.said, door.port)
        if found is None:
            return Service("", banner=text_of(link.said))
        probe, fields = found
        banner = link.said
        if probe.greets and probe.hello and not self._only_banner:
            link.send(probe.hello, self._patience(COMMON, door))
            fields = self._hear(link, probe, self._deadline(COMMON, door)) or fields
        return self._service(link, door, probe, fields, banner=banner, secure=secure)

    def _service(
        self,
        link: Link,
        door: Door,
        probe: Probe,
        fields: Fields,
        *,
        banner: bytes | None = None,
        secure: Fields | None = None,
    ) -> Service:
        text = text_of(link.said if banner is None else banner)
        if fields.get("starttls") and probe.starttls and secure is None:
            secure = self._upgrade(link, door, probe)
        return Service(probe.name, text, str(fields.get("product", "")), fields, secure)

    def _upgrade(self, link: Link, door: Door, probe: Probe) -> Fields | None:
        """Ask for TLS in a conversation that has begun; return what was shown."""
        link.forget()
        link.send(probe.starttls, self._patience(COMMON, door))
        deadline = self._deadline(COMMON, door)
        while b"\n" not in link.said and link.read(deadline):
            pass
        if not link.said.startswith(probe.starttls_ok):
            return None
        try:
            return link.start_tls(self._patience(COMMON, door))
        except OSError as exc:
            return {"error": reason_of(exc) if isinstance(exc, SSLError) else text_of(str(exc).encode())}

    def _ask_in_tls(self, door: Door, seconds: float = COMMON) -> Service | None:
        """Shake hands and ask inside; None if this port does not speak TLS."""
        fitting = self._registry.for_secure_port(door.port)
        may_be_web = not fitting or HTTP in fitting
        found = self._ask_in_tls_for(door, seconds, fitting, offers_http=may_be_web)
        if may_be_web and found is not None and found.tls is not None and NO_ALPN in found.tls.get("error", ""):
            return self._ask_in_tls_for(door, seconds, fitting, offers_http=False)
        return found

    def _ask_in_tls_for(
        self, door: Door, seconds: float, fitting: Sequence[Probe], *, offers_http: bool
    ) -> Service | None:
        with open_link(door, self._patience(FITTING, door)) as link:
            try:
                shown = link.start_tls(self._patience(seconds, door), offers_http=offers_http)
            except SSLError as exc:
                reason = reason_of(exc)
                return Service("tls", tls={"error": reason}) if is_alert(reason) else None
            except OSError:
                return None
            first = next((probe for probe in fitting if not probe.greets), None)
            if first is None:
                link.read(self._deadline(FITTING if fitting else LISTEN, door))
            found = self._greeted(link, door, shown) if link.said else None
            if found is None:
                found = self._ask(link, door, first or HTTP, FITTING if first else COMMON)
            return in_tls(found, shown)

    def _try_all(self, door: Door, ways: Iterable[Way]) -> Service | None:
        """Ask in other ways, some side by side, until one is answered."""
        rest = iter(ways)
        answers: Queue[Service | None] = Queue()
        workers = [spawn(self._try_some, door, rest, answers) for _ in range(AT_ONCE)]
        try:
            for _ in workers:
                found = answers.get()
                if found is not None:
                    return found
            return None
        finally:
            for worker in workers:
                worker.kill()
            for worker in workers:
                worker.join()  # their connections are closed

    def _try_some(self, door: Door, rest: Iterator[Way], answers: "Queue[Service | None]") -> None:
        found = None
        try:
            for way in rest:
                found = way(door)
                if found is not None:
                    break
        except OSError:
            pass  # it does not want another connection
        finally:
            answers.put(found)

    def _ask_alone(self, probe: Probe, door: Door) -> Service | None:
        found = self._ask_once(probe, door)
        return found and self._asked_properly(found, probe, door)

    def _ask_once(self, probe: Probe, door: Door) -> Service | None:
        with open_link(door, self._patience(COMMON, door)) as link:
            return self._ask(link, door, probe, OTHER_PROBE)

    def _patience(self, seconds: float, door: Door) -> float:
        return seconds + ROUND_TRIPS * min(door.rtt, LONG_WAY)

    def _deadline(self, seconds: float, door: Door) -> float:
        return self._clock() + self._patience(seconds, door)


def reason_of(exc: SSLError) -> str:
    """Return why a handshake failed, in OpenSSL's words; Python has no name for the newer reasons."""
    return text_of((exc.reason or re.sub(r"^\[.*\] | \(_ssl.*\)$", "", str(exc)).upper().replace(" ", "_")).encode())


def is_alert(reason: str) -> bool:
    """Tell whether a handshake failed because a TLS server said so."""
    return "ALERT" in reason or reason in {"UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE", "DH_KEY_TOO_SMALL"}


def in_tls(found: Service | None, shown: Fields) -> Service:
    """Return what was found inside TLS, by its name there."""
    if found is None or not found.name:
        return Service("tls", found.banner if found else "", tls=shown)
    return found._replace(name=SECURE_NAMES.get(found.name) or f"{found.name}/tls", tls=shown)
