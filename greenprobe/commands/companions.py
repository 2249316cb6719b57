"""Options that say nothing alone: who types one without the other that it goes with is told so.

In the environment or in a configuration file it is no mistake: it stands there for the runs that have the other.
"""

from typing import Any, Final, NamedTuple

import click
from click.core import ParameterSource

__all__ = ["check_companions"]


class Companion(NamedTuple):
    """What an option goes with: one of the parameters `others`. It says `meaning`; `what` is to be added."""

    others: tuple[str, ...]
    meaning: str
    what: str


OUR_KEY: Final = "where the key of our certificate is"
COMPANIONS: Final = {
    "fetch": {
        "digest": Companion(("user",), "how the password is proved", "--user NAME:PASSWORD"),
        "key": Companion(("cert",), OUR_KEY, "--cert FILE"),
        "url_column": Companion(("input_format",), "where the URLs of rows are", "--input-format csv or jsonl"),
        "warc_dedup": Companion(("warc",), "how the archive is written", "--warc FILE"),
    },
    "resolve": {"trust_anchors": Companion(("dnssec",), "what DNSSEC begins with", "--dnssec")},
    "scan": {
        "probes_file": Companion(
            ("asks_service", "asks_banner"), "how else services are asked", "--service or --banner"
        ),
    },
    "serve": {
        "access_log_file": Companion(("access_log",), "where a log is written", "--access-log FORMAT"),
        "tls_key": Companion(("tls_cert",), OUR_KEY, "--tls-cert FILE"),
    },
}
# What a parameter says that is not given, where that is a word.
NOTHING: Final = {"access_log": "off", "access_log_file": "-", "input_format": "lines"}


def is_typed(name: str) -> bool:
    """Tell whether an option stands on the command line, not only in the environment or the configuration."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def check_companions() -> None:
    """Raise click.UsageError for an option of this command that was typed and says nothing, as another is not there."""
    context = click.get_current_context()
    words = context.params
    options = {option.name: option.opts[0] for option in context.command.params}
    for name, (others, meaning, what) in COMPANIONS[str(context.command.name)].items():
        if is_typed(name) and says(words, name) and not any(says(words, other) for other in others):
            raise click.UsageError(f"{options[name]} says {meaning}; add {what}")


def says(words: dict[str, Any], name: str) -> bool:
    """Tell whether a parameter has a value that says something."""
    return bool(words[name]) and words[name] != NOTHING.get(name)
