"""Wrong words for the verbs of a container's life: one line that says what is wrong, an exit code, and nothing is changed."""

from __future__ import annotations

import pytest

from tests.support.containers import IMAGE
from tests.support.live import Live

pytestmark = pytest.mark.e2e

NONE = "0" * 64
USAGE = [
    ("rename box", ""), ("rename box ../x", ""), ("rename box " + "a" * 129, ""), ("rename box b\u00f3x", ""), ("rename box box", "has that name"),
    ("kill -s 99 box", "'99'"), ("kill -s FOO box", "'FOO'"), ("stop -t abc box", "'abc'"), ("stop -t " + "9" * 30 + " box", "seconds"),
    ("stop -s FOO box", "'FOO'"), ("rm", "at least 1 argument"), ("wait", "at least 1 argument"), ("restart -t x box", "'x'"),
    ("logs --tail abc box", "'abc'"), ("logs --since foo box", "'foo'"), ("attach --detach-keys zz- box", "'zz-'"),
    ("cp a b", "no place is in a container"), ("cp box:/etc box:/x", "both places are in containers"),
    ("commit box BAD:REF", "'BAD:REF'"), ("commit -c FOO box", "'FOO'"), ("commit -c USER box", "USER"), ("export -o /tmp box", "folder"),
    ("ps -f foo=bar", "'foo=bar'"), ("ps -f status=maybe", "status=maybe"), ("ps -f exited=x", "exited=x"), ("ps --format {{", "unclosed"),
    ("ps --format {{.Nope}}", ".Nope"), ("ps -n abc", "'abc'"), ("port box 99999", "'99999'"), ("port box 80/foo", "'80/foo'"),
    (f"create --restart on-failure:-1 {IMAGE} true", "'on-failure:-1'"), (f"create --stop-signal 99 {IMAGE} true", "'99'"),
    (f"create --stop-timeout x {IMAGE} true", "'x'"), (f"create --name ../x {IMAGE} true", "'../x'"), (f"create --name box {IMAGE} true", "in use"),
    (f"create --cidfile /nonexistent/x {IMAGE} true", "/nonexistent/x"), ("events --since foo", "'foo'"), ("inspect -f {{ box", "unclosed"),
    ("container prune -f --filter x=y", "'x=y'"),
]  # fmt: skip
FAILURES = [
    (f"start {NONE}", "no such container"), ("start ../box", "no such container"), (f"rm {NONE}", "no such container"),
    (f"wait {NONE}", "no such container"), (f"restart {NONE}", "no such container"), (f"logs {NONE}", "no such container"),
    (f"diff {NONE}", "no such container"), (f"export {NONE}", "no such container"), (f"commit {NONE}", "no such container"),
    (f"inspect {NONE}", "no such container or image"), ("cp missing:/x /tmp", "no such container"), ("ps -f before=nope", "no such container"),
    ("kill box", "not running"), ("attach box", "it is created"), ("cp box:/nope /tmp", "no such file"), ("cp /nope box:/", "'/nope'"),
    ("cp box:/etc /nonexistent/y/z", "'/nonexistent/y'"), ("export -o /nonexistent/x box", "'/nonexistent'"), ("rename box two", "in use"),
]  # fmt: skip


def test_each_is_told_and_changes_nothing(live: Live) -> None:
    for name in ("box", "two"):
        live("create", "--name", name, IMAGE, "true")
    before = live("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.Image}} {{.State}}"), live("images", "-q")
    for status, cases in ((125, USAGE), (1, FAILURES)):
        for words, said in cases:
            done = live.full(*words.split(" "), *([""] if words == "rename box" else []), status=None)
            lines = done.stderr.decode().splitlines()
            assert lines[0].startswith("estiba: cannot "), (words, lines)
            assert said in lines[0], (words, lines)
            assert done.returncode == status or "in use" in said, (words, done.returncode)
            assert not [line for line in lines[1:] if not line.startswith("hint: ")], lines
    assert before == (live("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.Image}} {{.State}}"), live("images", "-q"))
    live("rm", "box", "two")


@pytest.mark.parametrize("words", [["ps", "-a"], ["inspect", "box"], ["export", "box"]])
def test_an_output_that_is_full(live: Live, words: list[str]) -> None:
    live("create", "--name", "box", IMAGE, "true")
    line = " ".join(f"'{word}'" for word in [*live.command, *words])
    for redirection, cause in ((">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")):
        shell = Live(["sh", "-c", f"{line} {redirection}"], live.environment, live.folder)
        assert f"cannot write standard output: write error: {cause}" in shell.full(status=1).stderr.decode()
    live("rm", "box")
