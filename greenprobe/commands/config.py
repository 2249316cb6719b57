"""Defaults of options from a TOML file: a table for each command, keys as the options are called.

    [fetch]
    concurrency = 200
    per-host = 8
    header = ["X-Team: web"]

Words on the command line win over the environment (GREENPROBE_FETCH_CONCURRENCY=200), which wins over the file.
"""

import tomllib
from collections.abc import Collection, Mapping
from typing import Any

import click
import orjson

__all__ = ["defaults", "read"]


def read(path: str, commands: Collection[str]) -> dict[str, Any]:
    """Return the tables of a file, each of a command. Raises click.UsageError, whose line says what is wrong."""
    try:
        with open(path, "rb") as file:
            tables = tomllib.load(file)
    except (OSError, ValueError) as exc:
        raise click.UsageError(f"{path} cannot be used as configuration: {exc}") from exc
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise click.UsageError(f"{path} has {name!r} outside of any table; write it under [fetch], for example")
        if name not in commands:
            raise click.UsageError(f"{path} has a table [{name}]; there are {', '.join(commands)}")
    return tables


def defaults(tables: Mapping[str, Any], name: str, command: click.Command) -> dict[str, Any]:
    """Return the tables with that of one command made ready for click.

    Raises click.UsageError for unknown keys, and for values that no word on the command line could mean.
    """
    known: dict[str, click.Option] = {}
    for option in command.params:
        if isinstance(option, click.Option):
            known |= {word.removeprefix("--"): option for word in option.opts if word.startswith("--")}
            known[str(option.name)] = option
    table: dict[str, Any] = {}
    for key, value in tables.get(name, {}).items():
        if key not in known:
            raise click.UsageError(f"the configuration has [{name}] {key!r}, which is no option of {name}")
        table[str(known[key].name)] = _value(f"[{name}] {key}", known[key], value)
    return {**tables, name: table}


def _value(place: str, option: click.Option, value: Any) -> Any:
    """Return a value as click takes it: a list where an option may be repeated. Raises click.UsageError."""
    is_list = isinstance(value, list)
    if option.is_flag != isinstance(value, bool) or isinstance(value, dict) or (is_list and not option.multiple):
        wanted = "true or false" if option.is_flag else "one value"
        raise click.UsageError(f"the configuration has {place} = {orjson.dumps(value).decode()}; write {wanted}")
    return [value] if option.multiple and not is_list else value
