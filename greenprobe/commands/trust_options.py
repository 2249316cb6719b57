"""Whom a command believes over TLS: `--ca-file` and `-k`."""

import os
from typing import Any

import click

from greenprobe.commands.options import Decorator
from greenprobe.http.trust import trusting

__all__ = ["ca_file_option", "insecure_option"]


class Authorities(click.Path):
    """A file of certificates, read as it is named: a run that can trust nobody is not begun."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path. Raises click.BadParameter."""
        path = os.fspath(super().convert(value, param, ctx))
        try:
            trusting(os.fsdecode(path))
        except OSError:
            self.fail(f"{value!r} holds no certificate; it must be PEM.", param, ctx)
        return path


def ca_file_option() -> Decorator:
    """Add `--ca-file FILE`: the authorities in place of the system's."""
    kind = Authorities(exists=True, dir_okay=False, readable=True)
    return click.option("--ca-file", metavar="FILE", type=kind, help="Trust these authorities.")


def insecure_option() -> Decorator:
    """Add `-k`, `--insecure`: nobody is checked."""
    return click.option("-k", "--insecure", is_flag=True, help="Accept any certificate.")
