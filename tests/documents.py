"""The examples of the documentation: code blocks of Markdown files, what they should print, and whether they did.

A ```python block is a program of its own. `#> text` is what it prints there, a line each; one that has none may print
what it likes. A ```console block is a shell session: `$ command`, below it what it prints, where `...` stands for
anything; without such lines it may print what it likes.
"""

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXPECTED = re.compile(r"#> ?(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """One code block and where it stands."""

    path: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One line of a shell session, and the output that is shown below it."""

    words: str
    output: str


def examples(path: Path, language: str) -> list[Example]:
    """Return the code blocks of one language."""
    text = path.read_text("utf-8")
    found = [Example(path, text.count("\n", 0, block.start()) + 1, *block.groups()) for block in FENCE.finditer(text)]
    return [example for example in found if example.language == language]


def expected_output(example: Example) -> list[str] | None:
    """Return the lines that a Python example prints, or None if it does not say."""
    return [line.rstrip() for line in EXPECTED.findall(example.text)] or None


def commands(example: Example) -> list[Command]:
    """Return the commands of a shell session; comments at the end of a command are left out."""
    found = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", example.text, re.MULTILINE)
    return [Command(re.sub(r"\s+#.*", "", words), output.strip()) for words, output in found]


def matches(shown: str, printed: str) -> bool:
    """Tell whether output is what the documentation shows, where `...` stands for anything."""
    pattern = ".*?".join(re.escape(part) for part in shown.split("..."))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
