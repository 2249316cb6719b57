"""Who we say we are: Basic, Bearer and Digest authorization, and the .netrc file.

An Auth gives each request its Turn, which writes the Authorization header, and learns from the challenge of a 401
whether there is any use in asking again. Sources: RFC 7617 (Basic), RFC 6750 (Bearer), RFC 7616 (Digest), RFC 9110,
section 11.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from netrc import NetrcParseError, netrc
from secrets import token_hex
from typing import Final, NamedTuple, Protocol

from greenprobe.errors import LocalProtocolError

__all__ = ["Auth", "Basic", "Bearer", "Challenge", "Digest", "Netrc", "Turn", "challenges"]

MAX_CHALLENGE_CHARS: Final = 1 << 13
MAX_SPACES: Final = 4096  # origins whose challenges are kept


class Turn(Protocol):
    """Authorizes one request to an origin, and once more if that is refused."""

    def header(self, method: str, target: str) -> str | None:
        """Return the value for the Authorization header, or None if nothing can be said before a challenge."""

    def learn(self, values: Iterable[str]) -> bool:
        """Take the WWW-Authenticate values of a 401; tell whether `header` now has something new to say."""


class Auth(Protocol):
    """Authorizes requests. One may serve any number of greenthreads."""

    def at(self, origin: str) -> Turn:
        """Return the turn of one request to an origin."""


class Basic(NamedTuple):
    """Name and password, in the clear for whoever reads the connection."""

    user: str
    password: str

    def at(self, origin: str) -> "Basic":
        """Say the same to everybody."""
        return self

    def header(self, method: str, target: str) -> str:
        """Return it at once."""
        return "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()

    def learn(self, values: Iterable[str]) -> bool:
        """Everything was said the first time."""
        return False

    def __repr__(self) -> str:
        return f"<Basic of {self.user!r}>"


class Bearer(NamedTuple):
    """A token."""

    token: str

    def at(self, origin: str) -> "Bearer":
        """Say the same to everybody."""
        return self

    def header(self, method: str, target: str) -> str:
        """Return it at once; raises LocalProtocolError for a token that no header can hold."""
        if not self.token.isascii() or not self.token.isprintable() or " " in self.token:
            raise LocalProtocolError("the bearer token has a character in it that cannot be sent")
        return f"Bearer {self.token}"

    def learn(self, values: Iterable[str]) -> bool:
        """Everything was said the first time."""
        return False

    def __repr__(self) -> str:
        return "<Bearer>"


class Challenge(NamedTuple):
    """One challenge of a WWW-Authenticate header: the scheme in lower case, and its parameters."""

    scheme: str
    parameters: dict[str, str]


# A parameter, or a scheme (with perhaps a token68, which no scheme here needs). RFC 9110, section 11.6.1.
_word = re.compile(
    r"""[\s,]*(?:
        (?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"]+))
      | (?P<scheme>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?=[\s,]|$)
    )""",
    re.VERBOSE,
)


def challenges(values: Iterable[str]) -> list[Challenge]:
    """Return the challenges of WWW-Authenticate headers; what cannot be understood is left out."""
    found: list[Challenge] = []
    for value in values:
        place = 0
        value = value[:MAX_CHALLENGE_CHARS]
        while (word := _word.match(value, place)) is not None and word.end() > place:
            place = word.end()
            if word["scheme"]:
                found.append(Challenge(word["scheme"].lower(), {}))
            elif found:
                text = re.sub(r"\\(.)", r"\1", word["quoted"]) if word["quoted"] is not None else word["plain"]
                found[-1].parameters.setdefault(word["name"].lower(), text)
    return found


def _sha512_256(data: bytes) -> "hashlib._Hash":
    return hashlib.new("sha512_256", data)


ALGORITHMS: Final[dict[str, Callable[[bytes], "hashlib._Hash"]]] = {
    "SHA-512-256": _sha512_256,
    "SHA-256": hashlib.sha256,
    "MD5": hashlib.md5,
}


class Space:
    """What an origin has asked of us, and how often we have answered that."""

    __slots__ = ("challenge", "cnonce", "count")

    def __init__(self) -> None:
        self.challenge: dict[str, str] = {}
        self.cnonce = ""  # one for a challenge: with -sess the server may have made its key of the first it saw
        self.count = 0

    def take(self, challenge: dict[str, str]) -> None:
        """Take another challenge; one that others have taken already, as they have."""
        if challenge != self.challenge:
            self.challenge, self.cnonce, self.count = challenge, token_hex(16), 0


class Digest:
    """Name and password, proven without being sent: qop "auth", algorithms MD5, SHA-256, SHA-512-256, and -sess.

    What an origin asks is kept, so that later requests to it need no challenge of their own.
    """

    __slots__ = ("_password", "_spaces", "user")

    def __init__(self, user: str, password: str) -> None:
        """Raises LocalProtocolError for a name that no header can hold."""
        if not user.isprintable():
            raise LocalProtocolError("the user's name has a character in it that cannot be sent")
        self.user = user
        self._password = password
        self._spaces: dict[str, Space] = {}

    def at(self, origin: str) -> "DigestTurn":
        """Return what answers an origin, for one request."""
        if len(self._spaces) >= MAX_SPACES:
            self._spaces.clear()
        return DigestTurn(self.user, self._password, self._spaces.setdefault(origin, Space()))

    def __repr__(self) -> str:
        return f"<Digest of {self.user!r}>"


class DigestTurn:
    """The answers of one request to the challenges of one origin. What it was refused itself counts, and no other's."""

    __slots__ = ("_password", "_space", "_tried", "_user")

    def __init__(self, user: str, password: str, space: Space) -> None:
        self._user = user
        self._password = password
        self._space = space
        self._tried: str | None = None

    def header(self, method: str, target: str, *, nonce: str | None = None) -> str | None:
        """Return the answer to the last challenge. `nonce` is ours, for tests."""
        space = self._space
        if not space.challenge:
            return None
        space.count += 1
        self._tried = space.challenge["nonce"]
        cnonce = nonce or space.cnonce
        return _digest(space.challenge, self._user, self._password, method, target, space.count, cnonce)

    def learn(self, values: Iterable[str]) -> bool:
        """Take the strongest challenge; False if it is the one that was just answered, and not called stale."""
        usable = [each.parameters for each in challenges(values) if each.scheme == "digest" and _is_usable(each)]
        if not usable:
            return False
        best = min(usable, key=lambda each: list(ALGORITHMS).index(_algorithm(each)))
        if best["nonce"] == self._tried and best.get("stale", "").lower() != "true":
            return False
        self._space.take(best)
        return True


def _algorithm(parameters: dict[str, str]) -> str:
    return parameters.get("algorithm", "MD5").upper().removesuffix("-SESS")


def _is_usable(challenge: Challenge) -> bool:
    parameters = challenge.parameters
    qops = [qop.strip().lower() for qop in parameters.get("qop", "auth").split(",")]
    return "nonce" in parameters and "realm" in parameters and _algorithm(parameters) in ALGORITHMS and "auth" in qops


def _digest(asked: dict[str, str], user: str, password: str, method: str, target: str, count: int, cnonce: str) -> str:
    """Compute the response. Source: RFC 7616, section 3.4; without qop, RFC 2069.

    Text is bytes as latin-1 here, as the header has it: the server's as they came, ours in UTF-8.
    """
    algorithm = ALGORITHMS[_algorithm(asked)]
    user, password = (text.encode().decode("latin-1") for text in (user, password))

    def hashed(text: str) -> str:
        return algorithm(text.encode("latin-1")).hexdigest()

    realm, nonce, count_text = asked["realm"], asked["nonce"], f"{count:08x}"
    secret = hashed(f"{user}:{realm}:{password}")
    if asked.get("algorithm", "").upper().endswith("-SESS"):
        secret = hashed(f"{secret}:{nonce}:{cnonce}")
    what = hashed(f"{method}:{target}")
    middle = f"{count_text}:{cnonce}:auth:" if "qop" in asked else ""
    name = hashed(f"{user}:{realm}") if asked.get("userhash", "").lower() == "true" else user
    quoted = {"username": name, "realm": realm, "nonce": nonce, "uri": target}
    quoted["response"] = hashed(f"{secret}:{nonce}:{middle}{what}")
    plain = {"algorithm": asked["algorithm"]} if "algorithm" in asked else {}
    if "opaque" in asked:
        quoted["opaque"] = asked["opaque"]
    if name != user:
        plain["userhash"] = "true"
    if middle:
        quoted["cnonce"] = cnonce
        plain |= {"qop": "auth", "nc": count_text}
    words = [f'{key}="{_escaped(value)}"' for key, value in quoted.items()]
    return "Digest " + ", ".join([*words, *(f"{key}={value}" for key, value in plain.items())])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


class Netrc:
    """Names and passwords by host, from a .netrc file."""

    __slots__ = ("_file",)

    def __init__(self, path: str | None = None) -> None:
        """Read `path`, or ~/.netrc. Raises OSError, or LocalProtocolError with the line that is wrong."""
        try:
            self._file = netrc(path)
        except NetrcParseError as exc:
            where = f"{exc.filename}, line {exc.lineno}: " if exc.lineno else ""  # none if it is about its permissions
            raise LocalProtocolError(where + exc.msg) from exc
        except UnicodeDecodeError as exc:
            raise LocalProtocolError(f"{path or '~/.netrc'} is no text: {exc.reason} at byte {exc.start}") from exc

    def auth(self, host: str) -> Basic | None:
        """Return what the file has for `host`, or for "default"."""
        found = self._file.authenticators(host)
        return Basic(found[0], found[2] or "") if found is not None else None
