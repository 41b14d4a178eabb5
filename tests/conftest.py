"""What every test gets. The fixtures live in tests/support, one file per subject.

Warnings are errors and the order is random (pyproject.toml, pytest-randomly). Under CI a skip is a failure: what a test
needs, the set-up installs (tests/setup/packages).
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

pytest_plugins = [
    "tests.support.command",
    "tests.support.containers",
    "tests.support.images",
    "tests.support.kernels",
    "tests.support.leaks",
    "tests.support.machines",
    "tests.support.plans",
    "tests.support.registries",
    "tests.support.solo",
    "tests.support.stores",
    "tests.support.users",
    "tests.support.live",
    "tests.support.bundles",
]

HERE = Path(__file__).parent

# A shell ignores both for what it starts behind (`make test &`), and a program that inherits that cannot trap them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# No test asserts a time, hypothesis's included; what it finds, it prints as an example to copy.
hypothesis.settings.register_profile("estiba", deadline=None, database=None, print_blob=True)
hypothesis.settings.load_profile("estiba")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's folder is its marker."""
    for item in items:
        folder = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        if folder in {"host", "e2e"}:
            item.add_marker(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI, where everything must run: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI, where everything must run: {report.longrepr}"
    return report
