"""What the OCI runtime face answers to odd requests: runc's exit codes, and words of the same meaning. Each table is tried on runc itself, too."""

from __future__ import annotations

import copy
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.bundles import RUNTIME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.bundles import BundleRuntime

    Row = tuple[Sequence[str], int, str]

ID = "ID"


@pytest.fixture(params=["estiba", "runc"])
def either(request: pytest.FixtureRequest, bundle: BundleRuntime) -> BundleRuntime:
    bundle.runtime = RUNTIME if request.param == "estiba" else "runc"
    bundle.shell("exec sleep 1000")
    return bundle


def answers(bundle: BundleRuntime, rows: Sequence[Row]) -> None:
    wrong = []
    for words, status, meaning in rows:
        done = bundle(*(bundle.name if word == ID else word for word in words), status=None)
        if done.returncode != status or not re.search(meaning, done.stderr):
            wrong.append((words, done.returncode, done.stderr))
    assert not wrong


def test_of_what_is_not_there(either: BundleRuntime) -> None:
    missing = "does not exist"
    answers(
        either,
        [
            *(((verb, "nobody"), 1, missing) for verb in ("state", "delete", "kill", "start", "pause", "resume", "ps")),
            (("events", "--stats", "nobody"), 1, missing),
            (("update", "--pids-limit", "5", "nobody"), 1, missing),
            (("exec", "nobody", "true"), 255, missing),
            (("delete", "--force", "nobody"), 0, ""),
            *(((verb, "a/b"), 1, "id|ID") for verb in ("state", "create", "run")),
            (("create", ".."), 1, "id|ID"),
            (("create", "--bundle", "/nonexistent", ID), 1, "/nonexistent.*[Nn]o such file"),
            (("list",), 0, ""),
            ((), 0, ""),
        ],
    )


def test_of_misuse(either: BundleRuntime) -> None:
    verbs = ("state", "create", "start", "delete", "kill", "ps", "pause", "resume", "update", "events")
    answers(
        either,
        [
            *(((verb,), 1, "argument") for verb in verbs),
            *(((verb, "a", "b"), 1, "argument") for verb in ("state", "create", "start")),
            (("state", "--bogus", "x"), 1, "flag"),
            (("--bogus", "state", "x"), 1, "flag"),
            (("list", "--format", "yaml"), 1, "format|yaml"),
        ],
    )


def test_of_a_created_one(either: BundleRuntime) -> None:
    either.create()
    answers(
        either,
        [
            (("create", ID), 1, "already exists"),
            (("resume", ID), 1, "not paused|created"),
            (("exec", ID, "true"), 0, ""),
            (("kill", ID, "0"), 0, ""),
            (("delete", ID), 0, ""),
            (("delete", ID), 1, "does not exist"),
        ],
    )


def test_of_a_running_one(either: BundleRuntime) -> None:
    either.create()
    either("start", either.name)
    answers(
        either,
        [
            (("start", ID), 1, "running"),
            (("delete", ID), 1, "not stopped: running"),
            (("resume", ID), 1, "not paused|running"),
            (("kill", ID, "BOGUS"), 1, "BOGUS"),
            (("kill", ID, "65"), 1, ""),
            (("kill", ID, "--", "-1"), 1, ""),
            (("kill", ID, "0"), 0, ""),
            (("exec", ID), 255, "program|args"),
            (("exec", ID, "nowhere"), 255, r"executable file not found in \$PATH"),
            (("exec", ID, "/etc/passwd"), 255, "permission denied"),
            (("exec", "--cwd", "relative", ID, "true"), 255, "absolute path"),
            (("exec", "--cwd", "/nowhere", ID, "true"), 255, "(?i)no such file"),
            (("exec", "--user", "abc", ID, "true"), 255, "abc"),
            (("exec", "--env", "NAMELESS", ID, "true"), 255, "environment variable.*NAMELESS"),
            (("exec", "--process", "/nonexistent", ID), 255, "(?i)/nonexistent.*no such file"),
            (("exec", ID, "sh", "-c", "kill -9 $$"), 137, ""),
            (("update", "--memory", "abc", ID), 1, "abc"),
            (("pause", ID), 0, ""),
            (("pause", ID), 1, "paused|not running"),
            (("exec", ID, "true"), 255, "paused"),
            (("delete", ID), 1, "not stopped: paused"),
            (("kill", ID, "KILL"), 0, ""),
        ],
    )


def test_of_a_stopped_one(either: BundleRuntime) -> None:
    either.create()
    either("start", either.name)
    either("kill", either.name, "KILL")
    either.wait_for("stopped")
    answers(
        either,
        [
            (("state", ID), 0, ""),
            (("kill", ID), 1, "container not running"),
            (("kill", ID, "KILL"), 1, "container not running"),
            (("kill", "--all", ID, "KILL"), 0, ""),
            (("start", ID), 1, "stopped"),
            (("exec", ID, "true"), 255, "stopped"),
            (("pause", ID), 1, "stopped|not running"),
            (("resume", ID), 1, "stopped|not paused"),
            (("update", "--pids-limit", "5", ID), 1, "stopped|not running"),
            (("events", "--stats", ID), 1, "not running"),
            (("ps", ID), 0, ""),
            (("delete", ID), 0, ""),
            (("delete", ID), 1, "does not exist"),
        ],
    )


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Sets a member of config.json, or takes it away for `...`."""

    def change(config: dict[str, Any]) -> None:
        *above, last = path.split(".")
        for key in above:
            config = config[key]
        config[last] = value
        if value is ...:
            del config[last]

    return change


LIMIT = {"soft": 1, "hard": 1}
CONFIGS = [
    (_set("process", ...), 1, "process"),
    (_set("root", ...), 1, "root"),
    (_set("root.path", "nowhere"), 1, "nowhere"),
    (_set("ociVersion", 1), 1, "ociVersion"),
    (_set("process", "x"), 1, "process"),
    (_set("process.args", "x"), 1, "args"),
    (_set("process.args", []), 1, "args"),
    (_set("process.args", ["nowhere"]), 1, r"executable file not found in \$PATH"),
    (_set("process.cwd", "x"), 1, "(?i)cwd"),
    (_set("process.cwd", ...), 1, "(?i)cwd"),
    (_set("process.user", {"uid": "0", "gid": 0}), 1, "uid"),
    (_set("process.user", {"uid": -1, "gid": 0}), 1, "uid"),
    (_set("process.env", ["NAMELESS"]), 1, "environment variable.*NAMELESS"),
    (_set("process.terminal", True), 1, "console.socket"),
    (_set("process.rlimits", [{"type": "RLIMIT_X", **LIMIT}]), 1, "RLIMIT_X"),
    (_set("process.oomScoreAdj", 2000), 1, "(?i)oom_?score_?adj"),
    (_set("linux.namespaces", [{"type": "mount"}, {"type": "uts"}, {"type": "magic"}]), 1, "magic"),
    (_set("linux.namespaces", [{"type": "mount"}, {"type": "uts"}, {"type": "uts"}]), 1, "uts"),
    (_set("linux.namespaces", [{"type": "mount"}]), 1, "hostname"),
    (_set("linux.sysctl", {"kernel.panic": "1"}), 1, "kernel.panic"),
    (_set("linux.seccomp", {"defaultAction": "X"}), 1, "X"),
    (_set("linux.devices", [{"path": "/dev/x", "type": "z", "major": 1, "minor": 1}]), 1, "z"),
    (_set("mounts", [{"destination": "/tmp", "type": "tmpfs", "source": "x", "options": ["magic"]}]), 1, "magic"),
    (_set("mounts", [{"destination": "/tmp", "type": "bind", "source": "/nonexistent", "options": ["bind"]}]), 1, "/nonexistent"),
    (_set("hooks", {"prestart": [{"path": "/nonexistent"}]}), 1, "/nonexistent"),
    (_set("ociVersion", "1.9.0"), 0, ""),
    (_set("extension", {"of": "ours"}), 0, ""),
    (_set("process.capabilities", {"bounding": ["CAP_MAGIC"]}), 0, ""),
]


def test_of_bundles(either: BundleRuntime) -> None:
    good, wrong = copy.deepcopy(either.config), []
    for number, (change, status, meaning) in enumerate(CONFIGS):
        either.config = copy.deepcopy(good)
        change(either.config)
        with (either.folder / "output").open("w+b") as output:
            done = either("create", either.name, status=None, stdout=output, stderr=output)
        said = (either.folder / "output").read_text()
        if done.returncode != status or not re.search(meaning, said):
            wrong.append((number, done.returncode, said))
        either("delete", "--force", either.name)
    assert not wrong


@pytest.mark.parametrize("text", ["", "{", "[]", "\0"])
def test_of_what_is_no_bundle(either: BundleRuntime, text: str) -> None:
    """Written behind the fixture's back, which writes its config before each call."""
    config = either.folder / "other"
    config.mkdir()
    (config / "config.json").write_text(text)
    said = either("create", "--bundle", str(config), either.name, status=1).stderr
    assert said.strip()
    assert json.loads(either("list", "--format", "json").stdout) in ([], None)
