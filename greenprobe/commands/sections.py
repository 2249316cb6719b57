"""Help that shows a command's options under headings, as docs/commands.md does: among sixty in a row none is found."""

from collections.abc import Mapping
from typing import Any

import click

__all__ = ["SectionedCommand"]


class SectionedCommand(click.Command):
    """A command with `sections`: for each option that begins one, its heading."""

    def __init__(self, *args: Any, sections: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections or {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write every option in its section; those before the first heading are just options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        heading = "Options"
        for option in (each for each in self.get_params(ctx) if isinstance(each, click.Option)):
            heading = next((self.sections[word] for word in option.opts if word in self.sections), heading)
            record = option.get_help_record(ctx)
            if record is not None:
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records, col_max=25)
