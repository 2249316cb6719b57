# ruff: noqa: E402, N802 - imports follow the patch; the names are those of unittest.TestResult
"""One module of CPython's own tests, in a process that a statement has patched before anything else was imported.

Called by `cpython_suite` with one JSON argument. Each test's outcome is written to a log as it happens, so that who
reads it knows what ran when a test hangs or the process dies. Writes go by the real `os.write`, bound before the patch.
"""

import sys

if __name__ == "__main__":  # in a process that a test spawns, the path is its parent's already
    sys.path.pop(0)  # the folder of this file, whose modules are not CPython's
import json
import os
from collections.abc import Iterator
from typing import Any

order: dict[str, Any] = json.loads(sys.argv[1])
log_fd = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
log_write = os.write


def note(event: str, *fields: object) -> None:
    """Write one event: a line of JSON."""
    log_write(log_fd, json.dumps([event, *map(str, fields)]).encode() + b"\n")


exec(order["patch"], {"__name__": "patch"})

import traceback
import unittest

from test import support  # type: ignore[import-not-found]

support.use_resources = tuple(order["resources"])
support.verbose = 0


def cases(suite: Any) -> Iterator[unittest.TestCase]:
    """Yield the tests of a suite."""
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from cases(item)
        else:
            yield item


class Notes(unittest.TestResult):
    """A result that writes down what happens."""

    outcome = "passed"

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.outcome = "passed"
        note("start", test.id())

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        note("end", test.id(), self.outcome)

    def fail(self, test: Any, error: Any) -> None:
        """Note a failure; one of a fixture (no test case) is that of all tests it is for."""
        self.outcome = "failed"
        note("why", test.id(), "".join(traceback.format_exception_only(*error[:2]))[-300:])
        if not isinstance(test, unittest.TestCase):
            note("fixture", test.id(), "failed")

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        self.fail(test, err)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self.fail(test, err)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        if err is not None:
            self.fail(test, err)

    def addSkip(self, test: Any, reason: str) -> None:
        if not isinstance(test, unittest.TestCase):
            note("fixture", test.id(), "skipped")
        elif self.outcome != "failed":
            self.outcome = "skipped"

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        self.outcome = "skipped"

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self.outcome = "failed"
        note("why", test.id(), "unexpected success")


def load(name: str) -> list[unittest.TestCase]:
    """Return the tests of a module; end the process if it skips itself or cannot be loaded."""
    loader = unittest.TestLoader()
    try:
        suite = loader.loadTestsFromName(f"test.{name}")
        if loader.errors:
            raise ImportError(str(loader.errors[0])[-400:])
    except unittest.SkipTest as reason:
        note("module", "skipped", reason)
        os._exit(0)
    except BaseException as error:
        note("module", "failed", f"{type(error).__name__}: {error}"[-400:])
        os._exit(3)
    return [*cases(suite)]


def main() -> None:
    """Run the tests that are asked for, but for those that have run."""
    tests = [test for test in load(order["module"]) if not any(part in test.id() for part in order["without"])]
    if order["only"] is not None:
        tests = [test for test in tests if test.id() in order["only"]]
    note("tests", *(test.id() for test in tests))
    done = {*order["done"]}
    unittest.TestSuite([test for test in tests if test.id() not in done]).run(Notes())
    note("done")
    os._exit(0)


if __name__ == "__main__":  # not in a process that one of the tests spawns: it would run them all again
    main()
