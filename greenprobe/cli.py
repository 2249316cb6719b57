"""The command line: the group of commands, and how a run ends.

Commands are loaded when they are named, so that `--version` and a mistake cost no engine. Exit codes: 0 well, 1 failed,
2 wrong usage, 130 interrupted. What goes wrong for the user is one line on standard error; a traceback is a bug of
ours.
"""

import gc
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import click

from greenprobe.errors import GreenprobeError, TargetError
from greenprobe.process import end, interrupts_held

__all__ = ["main"]

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

# As the help lists them; `greenprobe NAME` is the function NAME of `greenprobe.commands.NAME`, imported when used.
COMMANDS = ("demo", "fetch", "scan", "crawl", "resolve", "report", "diff", "probes", "serve")

CONFIG = "greenprobe.commands.config"
PLAIN_PROGRESS = "greenprobe.commands.plain_progress"

EPILOG = """\b
Shell completion: put one of these lines into your shell's start file.
  bash:  eval "$(_GREENPROBE_COMPLETE=bash_source greenprobe)"
  zsh:   eval "$(_GREENPROBE_COMPLETE=zsh_source greenprobe)"
  fish:  _GREENPROBE_COMPLETE=fish_source greenprobe | source

\b
Exit codes: 0 well, 1 something failed, 2 wrong usage, 130 interrupted.
"""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, without loading any."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command, or return None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(load(f"greenprobe.commands.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        name_variables(cmd_name, command)
        if ctx.default_map is not None:
            ctx.default_map = load(CONFIG).defaults(ctx.default_map, cmd_name, command)
        return command


def progress(read: Callable[[], tuple[float | None, str]], mode: str, /) -> AbstractContextManager[None]:
    """Show progress on standard error: drawn on a terminal, else in lines; `mode` is "plain" for lines, or "off".

    Only what is drawn loads rich.
    """
    can_draw = sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")  # as rich has it
    if mode == "off":
        return nullcontext()
    if mode == "plain" or not can_draw:
        lines: AbstractContextManager[None] = load(PLAIN_PROGRESS).plain_progress(read)
        return lines
    shown: AbstractContextManager[None] = load("greenprobe.commands.progress").progress(read)
    return shown


def name_variables(name: str, command: click.Command) -> None:
    """Let every option of a command have a variable of the environment, GREENPROBE_COMMAND_OPTION."""
    for option in command.params:
        if isinstance(option, click.Option) and option.envvar is None:
            word = next((word for word in option.opts if word.startswith("--")), None)
            if word is not None:
                option.envvar = f"GREENPROBE_{name}_{word[2:]}".upper().replace("-", "_")


def load(module: str) -> Any:
    """Return a module that few runs need. Nothing is garbage meanwhile: to look for it takes a tenth of a start."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        with interrupts_held():
            return importlib.import_module(module)
    finally:
        if was_enabled:
            gc.enable()


def _read_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    path = value or default_config()
    if path is not None and not ctx.resilient_parsing:
        ctx.default_map = load(CONFIG).read(path, COMMANDS)


def default_config() -> str | None:
    """Return the path of the user's own configuration, None if there is none."""
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    path = os.path.join(folder, "greenprobe", "config.toml")
    return path if os.path.isfile(path) else None


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"greenprobe {sys.modules['greenprobe'].__version__}")  # our parent package: imported before us
        ctx.exit()


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, readable=True),
    envvar="GREENPROBE_CONFIG",
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    help="Take defaults of options from this TOML file.  [default: greenprobe/config.toml in ~/.config, if there]",
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Ask many addresses at once: which URLs are alive, which ports are open, what a site holds."""
    ctx.obj = progress


def main() -> NoReturn:
    """Run the command line and end the process with its code."""
    end(run(cli))


def run(command: click.Command, args: Sequence[str] | None = None) -> int:
    """Run `command`, turn its errors into one line on standard error, and return the exit code.

    `args` are the words after the program's name, the process's own if there are none.
    """
    try:
        result: Any = command.main(args, prog_name="greenprobe", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except (GreenprobeError, OSError) as exc:
        click.echo(f"Error: {_line_of(exc)}", err=True)
        return EXIT_USAGE if isinstance(exc, TargetError) else EXIT_FAILED
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else 0


def _line_of(error: Exception) -> str:
    """Return what a message says of an error: of the system's without its number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
