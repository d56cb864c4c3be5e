"""A plugin of pytest that writes down which functions of the tree each passed test enters, and how long it took."""

import json
import sys
import threading
from collections import defaultdict
from pathlib import Path
from types import CodeType, FrameType

import pytest


class Tracer:
    """Given to pytest; `write` says what it has seen.

    The interpreter tells of every call, and of nothing within a call: that is cheap enough for the whole suite.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: set[CodeType] = set()
        self._names: dict[CodeType, str] = {}
        self._tests: dict[str, set[str]] = defaultdict(set)
        self._seconds: dict[str, float] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        """What is seen from now on belongs to the next test."""
        self._seen.clear()
        threading.settrace(self._enter)
        sys.settrace(self._enter)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test is set up, called, torn down."""
        if report.when == "call" and report.passed:
            self._seconds[report.nodeid] = round(report.duration, 3)
        if report.when == "teardown" and report.nodeid in self._seconds:
            sys.settrace(None)
            for code in list(self._seen):  # at once: threads that the test has left may still add to it
                if name := self._name(code):
                    self._tests[name].add(report.nodeid)

    def write(self, path: Path) -> None:
        """As JSON: seconds by test, and tests by function (`file:qualified name`)."""
        tests = {name: sorted(tests) for name, tests in sorted(self._tests.items())}
        path.write_text(json.dumps({"seconds": self._seconds, "tests": tests}), encoding="utf-8")

    def _enter(self, frame: FrameType, event: str, argument: object) -> None:
        self._seen.add(frame.f_code)

    def _name(self, code: CodeType) -> str:
        """The outermost function that a code object is part of; "" for one that is not of the tree."""
        name = self._names.get(code)
        if name is None:
            path = Path(code.co_filename).resolve()
            inside = path.is_relative_to(self._root) and not path.is_relative_to(self._root / "tests")
            function = code.co_qualname.split(".<locals>")[0]
            name = self._names[code] = f"{path.relative_to(self._root)}:{function}" if inside else ""
        return name
