"""From the words of `greenprobe fetch` to what it is to do: client options, a plan, conditions, columns.

Everything that can be wrong with the words is found here, before anything is opened or sent, and is a TargetError or a
click error that names it.
"""

import os
from collections.abc import Mapping
from errno import EACCES, ENOENT
from typing import Any, Final, NamedTuple

import click

from greenprobe.commands.output import Column, Encoder, encoder, picking
from greenprobe.engine.bodystore import BodyStore
from greenprobe.engine.conditions import BODY_FIELDS, Condition, read_condition
from greenprobe.engine.earlier import EarlierResults
from greenprobe.engine.facts import FACT_NAMES, FactsTaker
from greenprobe.engine.fetchplan import FetchPlan, TakerMaker, Timings
from greenprobe.engine.lineforms import CsvRows, JsonRows, LineForm, PlainLines
from greenprobe.engine.politeness import PaceOptions
from greenprobe.errors import TargetError
from greenprobe.http.auth import Auth, Basic, Bearer, Digest, Netrc
from greenprobe.http.bodies import BytesBody
from greenprobe.http.cookies import Cookie, CookieJar, read_cookies_txt
from greenprobe.http.options import ClientOptions
from greenprobe.http.proxy import NoProxy, Proxies, read_proxy
from greenprobe.http.request import Fields, Request, checked_fields
from greenprobe.http.retries import RetryPolicy
from greenprobe.http.trust import TlsOptions, Trust, read_pin, tls_reason

__all__ = [
    "Choice",
    "check_writable",
    "choice_of",
    "client_options",
    "encoding_of",
    "first_scheme",
    "line_form",
    "plan_of",
    "trust_of",
]

Words = Mapping[str, Any]

CSV_COLUMNS: Final = [
    Column("line", "line"),
    Column("url", "url"),
    Column("final_url", "final_url"),
    Column("status", "status"),
    Column("bytes", "bytes"),
    Column("content_type", "content_type"),
    Column("dns", "elapsed.dns"),
    Column("connect", "elapsed.connect"),
    Column("tls", "elapsed.tls"),
    Column("first_byte", "elapsed.first_byte"),
    Column("total", "elapsed.total"),
    Column("address", "address"),
    Column("error", "error.class"),
    Column("message", "error.message"),
]
TEXT_COLUMNS: Final = [
    Column("status", "status", -6),
    Column("bytes", "bytes", -11),
    Column("seconds", "elapsed.total", -8),
    Column("url", "url", 40),
    Column("error", "error.message"),
]
BY_NAME: Final = {column.name: column.path for column in CSV_COLUMNS if column.name != "tls"}
BY_NAME.update({name: f"facts.{name}" for name in FACT_NAMES})

# What a result may have: docs/fetch-records.md. Of those that have parts, which; None where their names are anybody's.
ENDS: Final = ("v", "line", "url", "final_url", "status", "bytes", "content_type", "redirects", "address", "sent_bytes",
               "received_bytes", "attempts", "ended", "favicon", "not_modified", "file", "warc_offset")  # fmt: skip
PARTS: Final[dict[str, tuple[str, ...] | None]] = {
    "elapsed": Timings._fields,
    "error": ("class", "message"),
    "facts": FACT_NAMES,
    "headers": None,
    "input": None,
    "tls": None,
    "warc_body": ("url", "date"),
}


def client_options(words: Words) -> ClientOptions:
    """Return how the client is to fetch. Raises TargetError, LocalProtocolError, OSError."""
    return ClientOptions(
        per_host=words["per_host"] or words["concurrency"],
        max_open=OPEN_PER_FETCH * words["concurrency"],
        connect_timeout=words["connect_timeout"],
        tls_timeout=words["tls_timeout"],
        first_byte_timeout=words["first_byte_timeout"],
        read_timeout=words["read_timeout"],
        total_timeout=words["timeout"],
        max_redirects=words["max_redirects"],
        max_body_bytes=words["max_body"],
        allows_downgrade=words["allow_downgrade"],
        allows_private=not words["no_private"],
        user_agent=words["user_agent"],
        headers=_headers(words),
        auth=_auth(words),
        netrc=Netrc(words["netrc_file"]) if words["netrc"] or words["netrc_file"] else None,
        cookies=_cookies(words),
        proxies=_proxies(words),
        http2=words["http2"],
        max_streams=words["max_streams"],
        notes_tls=words["tls_facts"],
        pins=frozenset(map(read_pin, words["pins"])),
        server_name=words["sni"],
        records_exchanges=bool(words["warc"]),
    )


OPEN_PER_FETCH: Final = 4  # connections, most of them idle: for lists that go round over more hosts; as curl -Z has it


def _headers(words: Words) -> Fields:
    pairs = [line.partition(":") for line in words["headers"]]
    for name, colon, _ in pairs:
        if not colon:
            raise TargetError(f"--header {name!r} has no colon; write 'NAME: VALUE', or 'NAME:' to send none")
    checked_fields([("User-Agent", words["user_agent"])])
    fields = checked_fields([(name.strip(), value.strip()) for name, _, value in pairs])
    if words["warc"] and not any(name.lower() == "accept-encoding" for name, _ in fields):
        fields = (("Accept-Encoding", "gzip, deflate"), *fields)  # what every reader of archives undoes
    return fields


def _auth(words: Words) -> Auth | None:
    if words["bearer"] and words["user"]:
        raise TargetError("--bearer and --user both say who asks; give one of them")
    if words["bearer"]:
        Bearer(words["bearer"]).header("GET", "/")
        return Bearer(words["bearer"])
    if not words["user"]:
        return None
    user, colon, password = words["user"].partition(":")
    if not colon:
        raise TargetError(f"--user {user!r} has no password; write NAME:PASSWORD, or NAME: for none")
    return Digest(user, password) if words["digest"] else Basic(user, password)


def _cookies(words: Words) -> CookieJar | None:
    """Return a jar, if cookies are to be kept, with those of the files. Raises TargetError."""
    jar = words["cookie_jar"]
    if jar and os.path.exists(jar) and not os.path.isfile(jar):
        raise TargetError(f"--cookie-jar {jar} is no file that could be read and replaced")
    files = [words["cookies"], jar if jar and os.path.exists(jar) else None]
    found = [cookie for path in filter(None, files) for cookie in _cookies_of(path)]
    return CookieJar(found) if words["keep_cookies"] or words["cookies"] or jar else None


def _cookies_of(path: str) -> list[Cookie]:
    """Return the cookies of a file; one that has lines of something else only is not taken, nor written over later."""
    try:
        with open(path, encoding="latin-1") as file:  # as the wire has them
            lines = [line for line in file if not line.isspace()]
    except OSError as exc:
        raise TargetError(f"cannot read {path}: {exc.strerror}") from exc
    found = list(read_cookies_txt(lines))
    if not found and any(not line.startswith("#") for line in lines):
        raise TargetError(
            f"{path} has no cookies in it; it must be a cookies.txt, as curl and browsers' extensions write it"
        )
    return found


def _proxies(words: Words) -> Proxies | None:
    none = words["no_proxy"]
    if words["proxy"]:
        return Proxies.always(read_proxy(words["proxy"]), NoProxy(none or ""))
    environ = dict(os.environ) | ({"no_proxy": none} if none is not None else {})
    proxies = Proxies.of_environment(environ)
    return None if proxies.is_empty else proxies


def trust_of(words: Words) -> Trust:
    """Return what makes TLS contexts: when the first https URL needs one, but at once with a certificate of ours.

    Raises TargetError for a certificate that is none.
    """
    options = TlsOptions(
        ca_file=words["ca_file"],
        verify=not words["insecure"],
        client_cert=words["cert"],
        client_key=words["key"],
        min_version=words["tls_min"],
    )
    trust = Trust(options)
    if options.client_cert is None:
        return trust
    try:
        trust()
    except OSError as exc:
        named = " and ".join(filter(None, (options.client_cert, options.client_key)))
        raise TargetError(f"--cert {named}: {tls_reason(exc)}") from exc
    return trust


def check_writable(words: Words) -> None:
    """Raise click.ClickException for a file that could not be written when all is over."""
    for path in filter(None, (words["summary"], words["cookie_jar"])):
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            raise click.ClickException(f"cannot write to {path}: {os.strerror(ENOENT)}")
        if not os.access(path if os.path.exists(path) else folder, os.W_OK):
            raise click.ClickException(f"cannot write to {path}: {os.strerror(EACCES)}")


def plan_of(words: Words, client: ClientOptions, chosen: "Choice") -> FetchPlan:
    """Return the plan. Raises TargetError, LocalProtocolError, OSError."""
    paced = PaceOptions(
        delay=words["delay"],
        rate_per_s=words["rate"],
        host_rate_per_s=words["host_rate"],
        adapts=words["adapt"] or words["retries"] > 0,
        longest_retry_after=words["max_retry_after"],
        knows_all=words["adapt"],
    )
    earlier = EarlierResults(words["since"]) if words["since"] else None
    return FetchPlan(
        concurrency=words["concurrency"],
        client=client,
        request=_request(words),
        scheme=first_scheme(words),
        falls_back=words["scheme"] == "auto",
        max_host_errors=words["max_host_errors"],
        pace=paced if words["adapt"] or words["retries"] or not paced.is_free else None,
        retries=RetryPolicy(words["retries"], longest_retry_after=words["max_retry_after"]),
        takers=_takers(words, chosen),
        wants_favicons=words["favicon"],
        conditions=earlier.revalidation if earlier is not None else None,
        archived=earlier.archived if earlier is not None else None,
    )


def first_scheme(words: Words) -> str:
    """Return the scheme with which a host without one is asked first."""
    return "https" if words["scheme"] == "auto" else words["scheme"]


def _request(words: Words) -> Request | None:
    data, method = words["data"], words["method"]
    if data is None and method is None:
        return None
    body = None
    if data is not None:
        body = BytesBody(data, "application/x-www-form-urlencoded")
    return Request.of((method or "POST").upper(), (), body)


def _takers(words: Words, chosen: "Choice") -> tuple[TakerMaker, ...]:
    takers: list[TakerMaker] = []
    if chosen.facts or chosen.needs_body:
        takers.append(lambda number, trace: FactsTaker(chosen.facts, keeps_text=chosen.needs_body))
    if words["save"]:
        try:
            takers.append(BodyStore(words["save"]).taker)
        except OSError as exc:
            raise click.ClickException(f"cannot write to {words['save']}: {exc.strerror}") from exc
    return tuple(takers)


class Choice(NamedTuple):
    """What is looked for in bodies, and which records are written."""

    facts: tuple[str, ...]
    needs_body: bool
    match: tuple[Condition, ...]
    drop: tuple[Condition, ...]


def choice_of(words: Words) -> Choice:
    """Return it. Raises TargetError, or click.UsageError for a fact that is unknown."""
    match, drop = (tuple(map(read_condition, words[name])) for name in ("matches", "filters"))
    named = {name.strip() for name in (words["facts"] or "").split(",") if name.strip()}
    if "all" in named:
        named = set(FACT_NAMES)
    unknown = sorted(named - set(FACT_NAMES))
    if unknown:
        raise click.UsageError(f"--facts {unknown[0]!r} is unknown; known are {', '.join(FACT_NAMES)} and all")
    used = {condition.field for condition in (*match, *drop)} & BODY_FIELDS
    shown = {name.removeprefix("facts.") for name in field_names(words["fields"])}
    facts = tuple(name for name in FACT_NAMES if name in named | used | shown)
    return Choice(facts, "body" in used, match, drop)


def line_form(words: Words) -> LineForm:
    """Return what lines of the list mean."""
    column = words["url_column"]
    if words["input_format"] == "lines":
        return PlainLines()
    return JsonRows(column) if words["input_format"] == "jsonl" else CsvRows(column)


def encoding_of(words: Words) -> tuple[bytes, Encoder]:
    """Return the heading of the output and what encodes its rows."""
    format_name, names = words["format_name"], field_names(words["fields"])
    columns = CSV_COLUMNS if format_name == "csv" else TEXT_COLUMNS
    if not names:
        return encoder(format_name, columns)
    columns = [Column(name, BY_NAME.get(name, name)) for name in names]
    return (b"", picking(columns)) if format_name == "jsonl" else encoder(format_name, columns)


def field_names(text: str | None) -> list[str]:
    """Return the fields of a list between commas. Raises TargetError for one that no result has."""
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    for name in names:
        check_field(name)
    return names


def check_field(name: str) -> None:
    """Raise TargetError for a field that no result has."""
    first, dot, part = BY_NAME.get(name, name).partition(".")
    if first not in PARTS:
        if dot or first not in ENDS:
            raise TargetError(f"--fields {name!r} is unknown; known are {', '.join((*ENDS, *PARTS))}")
        return
    parts = PARTS[first]
    if dot and parts is not None and part not in parts:
        raise TargetError(f"--fields {name!r} is unknown; {first} has {', '.join(parts)}")
