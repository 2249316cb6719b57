"""Protocols that greet with a line: SMTP, POP3, IMAP, FTP.

SMTP and FTP both greet with 220. Words in the greeting tell them apart, else the answer to EHLO.
Sources: RFC 5321 sections 3.1 and 4.1, RFC 3207; RFC 1939, RFC 2449, RFC 2595; RFC 9051; RFC 959, RFC 2389, RFC 4217.
"""

import re
from typing import Final

from greenprobe.engine.probes.probe import MAX_ITEMS, MORE, OTHER, Fields, Heard, Probe, text_of

__all__ = ["FTP", "IMAP", "POP3", "SMTP"]

FTP_WORDS: Final = re.compile(rb"ftp|filezilla|serv-u", re.IGNORECASE)
SMTP_WORDS: Final = re.compile(rb"smtp|mail|postfix|exim|sendmail|exchange|\bmx\b", re.IGNORECASE)
MAX_LINES: Final = 100
# Greetings hold host names, dates and numbers of sessions, too: a product is a name that is known, and its version.
PRODUCT: Final = re.compile(
    rb"(?<![\w.-])(Exim|Postfix|Sendmail|OpenSMTPD|Haraka|MDaemon|hMailServer|Zimbra|Lotus Domino"
    rb"|Dovecot|Cyrus (?:IMAP|POP3)|Courier(?:-IMAP)?|UW IMAP"
    rb"|vsFTPd|ProFTPD|Pure-FTPd|FileZilla Server|Serv-U|Microsoft (?:Exchange|ESMTP|FTP))"
    rb"(?![\w.-])(?: (?:version )?v?(\d[\w.]*))?",
    re.IGNORECASE,
)
HOST: Final = b"greenprobe.invalid"


def _replies(data: bytes) -> list[tuple[int, list[bytes]]]:
    """Return the whole replies in `data`: code and lines; a reply may have several lines. Source: RFC 5321, 4.2."""
    replies: list[tuple[int, list[bytes]]] = []
    lines: list[bytes] = []
    for line in data.split(b"\n")[:-1][:MAX_LINES]:
        lines.append((line[4:] if line[:3].isdigit() else line).strip())
        if line[:3].isdigit() and line[3:4] != b"-":
            replies.append((int(line[:3]), lines))
            lines = []
    return replies


def _greeting(data: bytes, is_over: bool) -> Heard | list[tuple[int, list[bytes]]]:
    """Return the replies, one at least; or that it is none, or none yet."""
    is_reply = data[:3].isdigit() and data[3:4] in (b" ", b"-", b"\r", b"\n", b"") and len(data) < 1 << 14
    if not is_reply:
        may_come = len(data) < 4 and (not data or data.isdigit())
        return MORE if may_come and not is_over else OTHER
    return _replies(data) or (OTHER if is_over else MORE)


def product_of(greeting: bytes) -> str:
    """Return the server that a greeting names, with its version; "" if it names none that is known."""
    found = PRODUCT.search(greeting)
    return text_of(b" ".join(filter(None, found.groups()))) if found else ""


def parse_smtp(data: bytes, is_over: bool) -> Fields | Heard:
    """Read a greeting and the answer to EHLO."""
    replies = _greeting(data, is_over)
    if isinstance(replies, Heard):
        return replies
    code, greeting = replies[0]
    answer, lines = replies[1] if len(replies) > 1 else (0, [b""])
    if code not in (220, 421, 554) or (is_over and not _is_smtp(greeting[0], answer, lines[0])):
        return OTHER
    if not answer and not is_over:
        return MORE
    extensions = [text_of(line) for line in lines[1:]] if answer == 250 else []
    return {
        "greeting": text_of(greeting[0]),
        "code": code,
        "extensions": extensions[:MAX_ITEMS],
        "starttls": any(word.upper() == "STARTTLS" for word in extensions),
        "product": product_of(greeting[0]),
    }


def _is_smtp(greeting: bytes, answer: int, line: bytes) -> bool:
    if SMTP_WORDS.search(greeting) and not FTP_WORDS.search(greeting):
        return True
    return answer == 250 or (answer > 0 and line.startswith((b"5.", b"4.")))


def parse_ftp(data: bytes, is_over: bool) -> Fields | Heard:
    """Read a greeting and the answer to FEAT."""
    replies = _greeting(data, is_over)
    if isinstance(replies, Heard):
        return replies
    code, greeting = replies[0]
    words = b" ".join(greeting)
    answer, lines = replies[1] if len(replies) > 1 else (0, [b""])
    is_ftp = FTP_WORDS.search(words) or answer in (211, 530) or b"USER" in lines[0].upper()
    if code not in (120, 220, 421) or (is_over and not is_ftp):
        return OTHER
    if not answer and not is_over:
        return MORE
    features = [text_of(line) for line in lines[1:-1]] if answer == 211 else []
    return {
        "greeting": text_of(words),
        "code": code,
        "features": features[:MAX_ITEMS],
        "starttls": any(word.upper().startswith("AUTH") and "TLS" in word.upper() for word in features),
        "product": product_of(words),
    }


def parse_pop3(data: bytes, is_over: bool) -> Fields | Heard:
    """Read a greeting and the answer to CAPA."""
    if not data.startswith((b"+OK", b"-ERR")):
        return MORE if not is_over and any(word.startswith(data) for word in (b"+OK", b"-ERR")) else OTHER
    greeting, newline, rest = data.partition(b"\n")
    if not data.startswith(b"+OK") or len(greeting) > 1024:
        return OTHER
    is_answered = (rest.startswith(b"-ERR") and b"\n" in rest) or b"\n.\r\n" in rest
    if not is_over and not (newline and is_answered):
        return MORE
    capabilities = _pop3_capabilities(rest)
    return {
        "greeting": text_of(greeting.strip()),
        "capabilities": capabilities[:MAX_ITEMS],
        "starttls": any(word.upper() == "STLS" for word in capabilities),
        "product": product_of(greeting),
    }


def _pop3_capabilities(answer: bytes) -> list[str]:
    lines = answer.split(b"\n")[1:MAX_LINES] if answer.startswith(b"+OK") else []
    return [text_of(line.strip()) for line in lines if line.strip() not in (b"", b".")]


CAPABILITY: Final = re.compile(rb"CAPABILITY ([^\r\n\]]*)")


def parse_imap(data: bytes, is_over: bool) -> Fields | Heard:
    """Read a greeting and the answer to CAPABILITY."""
    starts = (b"* OK", b"* PREAUTH", b"* BYE")
    if not data.startswith(starts):
        return MORE if not is_over and any(word.startswith(data) for word in starts) else OTHER
    greeting, newline, rest = data.partition(b"\n")
    if len(greeting) > 4096:
        return OTHER
    is_answered = re.search(rb"^(?:a1 |\* BAD|\* BYE)[^\n]*\n", rest, re.MULTILINE)
    if not is_over and not (newline and is_answered):
        return MORE
    found = CAPABILITY.findall(data)
    capabilities = [text_of(word) for word in found[-1].split()[:MAX_ITEMS]] if found else []
    return {
        "greeting": text_of(greeting.strip()),
        "capabilities": capabilities,
        "starttls": any(word.upper() == "STARTTLS" for word in capabilities),
        "product": product_of(greeting),
    }


GREETING: Final = "the first line"
PRODUCT_IS: Final = "name and version of a well-known server that the greeting names"
STARTTLS: Final = "whether the connection can be upgraded to TLS"

SMTP: Final = Probe(
    name="smtp",
    about="mail transfer and submission",
    parse=parse_smtp,
    hello=b"EHLO " + HOST + b"\r\n",
    greets=True,
    ports=(25, 587, 2525),
    fields={
        "greeting": GREETING,
        "code": "of the greeting",
        "extensions": "the answer to EHLO",
        "starttls": STARTTLS,
        "product": PRODUCT_IS,
    },
    secure_name="smtps",
    secure_ports=(465,),
    starttls=b"STARTTLS\r\n",
    starttls_ok=b"220",
)
FTP: Final = Probe(
    name="ftp",
    about="file transfer",
    parse=parse_ftp,
    hello=b"FEAT\r\n",
    greets=True,
    ports=(21, 2121),
    fields={
        "greeting": GREETING,
        "code": "of the greeting",
        "features": "the answer to FEAT",
        "starttls": STARTTLS,
        "product": PRODUCT_IS,
    },
    secure_name="ftps",
    secure_ports=(990,),
    starttls=b"AUTH TLS\r\n",
    starttls_ok=b"234",
)
POP3: Final = Probe(
    name="pop3",
    about="mailboxes",
    parse=parse_pop3,
    hello=b"CAPA\r\n",
    greets=True,
    ports=(110,),
    fields={
        "greeting": GREETING,
        "capabilities": "the answer to CAPA",
        "starttls": STARTTLS,
        "product": PRODUCT_IS,
    },
    secure_name="pop3s",
    secure_ports=(995,),
    starttls=b"STLS\r\n",
    starttls_ok=b"+OK",
)
IMAP: Final = Probe(
    name="imap",
    about="mailboxes",
    parse=parse_imap,
    hello=b"a1 CAPABILITY\r\n",
    greets=True,
    ports=(143,),
    fields={
        "greeting": GREETING,
        "capabilities": "of the greeting or the answer to CAPABILITY",
        "starttls": STARTTLS,
        "product": PRODUCT_IS,
    },
    secure_name="imaps",
    secure_ports=(993,),
    starttls=b"a2 STARTTLS\r\n",
    starttls_ok=b"a2 OK",
)
