"""Part of this suite, run again on a machine with cgroup version 2 alone: limits, want of memory, the freezer, ordinary users.

Each test here is one of the suite's, all of whose variants, but where one is named, ran in one guest. What needs a controller that its kernel
lacks (cpuset), or version 1, is left out.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.support.cgroup2 import boot

if TYPE_CHECKING:
    from pathlib import Path

SUITE = {
    "test_limits": [
        "test_each_limit_is_in_its_file",
        "test_quota_and_period",
        "test_parent_of_the_groups",
        "test_every_container_is_counted_and_leaves_nothing",
    ],
    "test_update": [
        "test_limits_of_a_running_container",
        "test_what_cannot_be_updated",
        "test_killed_at_each_step[there-rename]",
        "test_more_processes_than_before",
        "test_figures",
        "test_killed_for_want_of_memory",
    ],
    "test_pause": [
        "test_pause_stop_and_rm",
        "test_frozen_by_somebody_else",
        "test_watchers_that_are_killed_while_it_is_paused",
        "test_a_store_that_is_gone_is_swept",
        "test_where_there_is_nothing_to_hold_it",
    ],
    "test_run_rootless": [
        "test_is_root_inside_and_himself_outside",
        "test_other_users_exist_with_subordinate_ids_only",
        "test_streams_and_read_only_binds",
        "test_network_and_capabilities_are_the_containers_own",
        "test_what_the_user_may_not_read_stays_unread",
    ],
}
REPORT = "/run/report.xml"


@pytest.fixture(scope="session")
def report(uml: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[ET.Element]]:
    """The cases of each test of the suite, as pytest in the guest reports them."""
    names = [f"tests/host/{file}.py::{test}" for file, tests in SUITE.items() for test in tests]
    pytest_words = ["-p", "no:cacheprovider", "-p", "no:randomly", "--basetemp=/run/tests", "-k", "not version", f"--junitxml={REPORT}"]
    ran, shown = boot(
        uml, tmp_path_factory.mktemp("guest"), [[sys.executable, "-B", "-m", "pytest", *pytest_words, *names], ["cat", REPORT]]
    )
    assert shown["code"] == 0, ran
    cases: dict[str, list[ET.Element]] = {}
    for case in ET.fromstring(shown["out"]).iter("testcase"):
        cases.setdefault(case.attrib["name"].partition("[")[0], []).append(case)
    return cases


@pytest.mark.parametrize("test", [pytest.param(test, id=f"{file}-{test}") for file, tests in SUITE.items() for test in tests])
def test_on_version_2_alone(test: str, report: dict[str, list[ET.Element]]) -> None:
    cases = report.get(test.partition("[")[0])
    assert cases, "it did not run"
    for case in cases:
        trouble = [child for child in case if child.tag in ("failure", "error", "skipped")]
        assert not trouble, f"{case.attrib['name']}: {trouble[0].attrib.get('message')}\n{trouble[0].text}"
