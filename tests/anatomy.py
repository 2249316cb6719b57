"""The shape of source files, read from their syntax trees: imports, lengths, nesting, complexity. Runs none of them.

Lengths are physical lines, a function's own docstring left out. Nesting counts if, for, while, with, try and match; an
elif is not deeper. Complexity is 1 + if, for, while, except, case, assert, conditional expression, boolean operator and
comprehension with its conditions.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)
BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.match_case,
    ast.Assert,
)


@dataclass(frozen=True)
class Import:
    """One imported module: its full name, where, and whether it waits for a function to be called."""

    module: str
    line: int
    late: bool


@dataclass(frozen=True)
class Function:
    """The figures of one function."""

    name: str
    line: int
    lines: int
    nesting: int
    complexity: int


def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text("utf-8"), str(path))


def imports(tree: ast.Module, package: str, known: frozenset[str]) -> Iterator[Import]:
    """Yield what a module of `package` imports, TYPE_CHECKING blocks left out.

    `known` are the full names of modules: with it `from a import b` is an import of a.b where that is a module.
    """
    for node, late in _statements(tree, late=False):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, late)
        else:
            base = _base(node, package)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield Import(full if full in known else base, node.lineno, late)


def _statements(node: ast.AST, *, late: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, late
        elif isinstance(child, ast.If) and _asks_type_checking(child.test):
            for otherwise in child.orelse:
                yield from _statements(otherwise, late=late)
        elif isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):  # no expression holds a statement
            yield from _statements(child, late=late or isinstance(child, FUNCTIONS))


def _asks_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"


def _base(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, node.module] if node.module else parts)


def calls(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    """Yield each call with the dotted name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, _dotted(node.func)


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return ast.unparse(node)


def functions(tree: ast.Module) -> Iterator[Function]:
    """Yield the figures of every function, nested ones on their own and inside their parent."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            yield Function(node.name, node.lineno, length(node), nesting(node.body), complexity(node))


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function without its docstring (decorators do not count)."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def nesting(body: list[ast.stmt], depth: int = 0) -> int:
    """Return how deep the blocks of `body` go."""
    deepest = depth
    for statement in body:
        if isinstance(statement, BLOCKS):
            for inner, deeper in _inner(statement):
                deepest = max(deepest, nesting(inner, depth + deeper))
    return deepest


def _inner(block: ast.stmt) -> Iterator[tuple[list[ast.stmt], int]]:
    for handler in [*getattr(block, "handlers", []), *getattr(block, "cases", [])]:
        yield handler.body, 1
    yield getattr(block, "body", []), 1
    yield getattr(block, "finalbody", []), 1
    orelse = getattr(block, "orelse", [])
    is_elif = isinstance(block, ast.If) and len(orelse) == 1 and isinstance(orelse[0], ast.If)
    yield orelse, 0 if is_elif else 1


def complexity(node: ast.AST) -> int:
    """Return the cyclomatic complexity of a function, functions and classes inside it left out."""
    total = 1
    stack = list(ast.iter_child_nodes(node))
    while stack:
        child = stack.pop()
        if isinstance(child, (*FUNCTIONS, ast.ClassDef, ast.Lambda)):
            continue
        total += isinstance(child, BRANCHES)
        total += len(child.values) - 1 if isinstance(child, ast.BoolOp) else 0
        total += 1 + len(child.ifs) if isinstance(child, ast.comprehension) else 0
        stack.extend(ast.iter_child_nodes(child))
    return total


def percentile(values: list[int], share: float) -> int:
    """Return the value that `share` of the values do not pass; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))] if ordered else 0
