"""Redis and memcached. Sources: the Redis serialization protocol, RESP2; memcached's protocol.txt."""

import re
from typing import Final

from greenprobe.engine.probes.probe import MORE, OTHER, Fields, Heard, Probe, text_of

__all__ = ["MEMCACHED", "REDIS"]

REDIS_ERRORS: Final = re.compile(
    rb"-(?:ERR (?:unknown command|wrong number of arguments|operation not permitted|max number of clients|Protocol)"
    rb"|NOAUTH |DENIED |NOPERM |LOADING |MISCONF |MASTERDOWN )"
)
REDIS_INFO: Final = re.compile(rb"^(redis_version|valkey_version|redis_mode|os|role):([^\r\n]*)", re.MULTILINE)
REDIS_SIZE: Final = re.compile(rb"\$(\d{1,7})\r\n")
MAX_INFO: Final = 1 << 14


def parse_redis(data: bytes, is_over: bool) -> Fields | Heard:
    """Read the answer to INFO: a bulk string, or an error that only Redis words so."""
    if data.startswith(b"-"):
        if b"\n" not in data and not is_over and len(data) < 512:
            return MORE
        line = data.partition(b"\r\n")[0]
        return {"error": text_of(line[1:]), "product": "Redis"} if REDIS_ERRORS.match(line) else OTHER
    size = REDIS_SIZE.match(data)
    if size is None:
        may_come = not data or (data[:1] == b"$" and len(data) < 10 and b"\n" not in data)
        return MORE if may_come and not is_over else OTHER
    if len(data) < min(int(size[1]) + size.end(), MAX_INFO) and not is_over:
        return MORE
    return _redis_info(data)


def _redis_info(data: bytes) -> Fields | Heard:
    found = {name.decode(): text_of(value) for name, value in REDIS_INFO.findall(data)}
    version = found.get("valkey_version") or found.get("redis_version")
    if not version:
        return OTHER
    return {
        "version": version,
        "mode": found.get("redis_mode", ""),
        "os": found.get("os", ""),
        "product": f"{'Valkey' if 'valkey_version' in found else 'Redis'} {version}",
    }


MEMCACHED_VERSION: Final = re.compile(rb"VERSION ([^\r\n]{1,100})\r\n")


def parse_memcached(data: bytes, is_over: bool) -> Fields | Heard:
    """Read the answer to `version`."""
    found = MEMCACHED_VERSION.match(data)
    if found is not None:
        return {"version": text_of(found[1]), "product": f"memcached {text_of(found[1])}"}
    if data == b"ERROR\r\n" and is_over:
        return OTHER  # said by too many
    may_come = b"VERSION ".startswith(data[:8]) and len(data) < 110 and b"\n" not in data
    return MORE if may_come and not is_over else OTHER


REDIS: Final = Probe(
    name="redis",
    about="Redis, Valkey and the like",
    parse=parse_redis,
    hello=b"INFO server\r\n",
    ports=(6379, 6380, 26379),
    fields={
        "version": "of the server",
        "mode": "standalone, cluster or sentinel",
        "os": "it runs on",
        "error": "if it wants a password first",
        "product": "name and version",
    },
)
MEMCACHED: Final = Probe(
    name="memcached",
    about="memcached",
    parse=parse_memcached,
    hello=b"version\r\n",
    ports=(11211,),
    fields={"version": "of the server", "product": "name and version"},
)
