"""Defaults of options from a TOML file: a table for each command, keys as the options are called.

    [fetch]
    concurrency = 200
    per-host = 8
    header = ["X-Team: web"]

Words on the command line win over the environment (GREENPROBE_FETCH_CONCURRENCY=200), which wins over the file.
"""

import tomllib
from collections.abc import Mapping
from typing import Any

import click

__all__ = ["defaults", "read"]


def read(path: str) -> dict[str, Any]:
    """Return the tables of a file. Raises click.UsageError, whose line says what is wrong with it."""
    try:
        with open(path, "rb") as file:
            tables = tomllib.load(file)
    except (OSError, ValueError) as exc:
        raise click.UsageError(f"{path} cannot be used as configuration: {exc}") from exc
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise click.UsageError(f"{path} has {name!r} outside of any table; write it under [fetch], for example")
    return tables


def defaults(tables: Mapping[str, Any], name: str, command: click.Command) -> dict[str, Any]:
    """Return the tables with that of one command made ready for click. Raises click.UsageError for unknown keys."""
    known = {
        word.removeprefix("--"): option.name
        for option in command.params
        if isinstance(option, click.Option)
        for word in option.opts
        if word.startswith("--")
    }
    table = tables.get(name, {})
    unknown = [key for key in table if key not in known and key not in known.values()]
    if unknown:
        raise click.UsageError(f"the configuration has [{name}] {unknown[0]!r}, which is no option of {name}")
    return {**tables, name: {known.get(key, key): value for key, value in table.items()}}
