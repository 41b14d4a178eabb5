"""The life of containers through the command line. Every case passes on docker too, where a daemon can run here: what this file
expects is what users of Docker rely on. ENGINE_UNDER_TEST=estiba or =docker chooses one of them.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
import time
from typing import TYPE_CHECKING

import pytest

from bench.dockerd import PrivateDockerd, available
from tests.support.command import command_under_test
from tests.support.containers import IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

ENGINES = [os.environ["ENGINE_UNDER_TEST"]] if "ENGINE_UNDER_TEST" in os.environ else ["estiba", *(["docker"] if available() else [])]


class Engine:
    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self.words = words
        self.environment = environment

    def __call__(self, *words: str, status: int | None = 0, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.words, *words], input=stdin, env=self.environment, capture_output=True, text=True, check=False, timeout=timeout
        )
        assert "Traceback" not in done.stderr
        if status is not None:
            assert done.returncode == status, (words, done)
        return done

    def state(self, name: str, form: str = "{{.State.Status}} {{.State.ExitCode}}") -> str:
        return self("inspect", "--type", "container", "-f", form, name).stdout.strip()


@pytest.fixture(scope="module", autouse=True)  # before the first test looks at what there is
def dockerd(alpine_tar: Path) -> Iterator[list[str]]:
    if "docker" not in ENGINES:
        yield []
        return
    with PrivateDockerd() as daemon:
        subprocess.run(daemon.command("import", str(alpine_tar), IMAGE), check=True, capture_output=True)
        yield daemon.command()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "docker":
        under_test = Engine(request.getfixturevalue("dockerd"), dict(os.environ))
    else:
        root = request.getfixturevalue("alpine_store")
        under_test = Engine(command_under_test(), request.getfixturevalue("environment") | {"ESTIBA_ROOT": str(root)})
    yield under_test
    left = under_test("ps", "-aq").stdout.split()
    if left:
        under_test("rm", "-f", *left)
    assert under_test("ps", "-aq").stdout == ""


def until(condition: str, engine: Engine, name: str, form: str = "{{.State.Status}}") -> None:
    deadline = time.monotonic() + 20
    while (found := engine.state(name, form)) != condition:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_detached_container_runs_is_listed_stops_and_goes(engine: Engine) -> None:
    container = engine("run", "-d", "--name", "web", "--label", "a=b", IMAGE, "sleep", "1000").stdout.strip()
    assert re.fullmatch("[0-9a-f]{64}", container)
    assert engine("ps", "-q", "--no-trunc").stdout.split() == [container]
    assert engine("ps", "--format", '{{.Names}}|{{.State}}|{{.Command}}|{{.Image}}|{{.Label "a"}}').stdout.strip() == f'web|running|"sleep 1000"|{IMAGE}|b'
    assert engine.state("web") == "running 0"
    assert engine("stop", "-t", "1", "web").stdout == "web\n"
    assert engine.state("web") == "exited 137"
    assert engine("ps", "-q").stdout == ""
    assert "Exited (137)" in engine("ps", "-a").stdout
    assert engine("rm", "web").stdout == "web\n"
    assert engine("ps", "-aq").stdout == ""


def test_commands_are_listed_in_quotes(engine: Engine) -> None:
    engine("create", "--name", "quoted", IMAGE, "sh", "-c", 'echo "q w"; \\', "tab\there", "")
    assert engine("ps", "-a", "--no-trunc", "--format", "{{.Command}}").stdout == r'''"sh -c 'echo \"q w\"; \\' tab\there "''' + "\n"
    assert engine("ps", "-a", "--format", "{{.Command}}").stdout == r'''"sh -c 'echo \"q w\"; …"''' + "\n"
    engine("rm", "quoted")


def test_created_container_starts_again_and_again_on_its_own_files(engine: Engine) -> None:
    engine("create", "--name", "job", IMAGE, "sh", "-c", "echo x >>/count; cat /count | wc -l; exit 3")
    assert engine.state("job") == "created 0"
    for turn in (1, 2):
        assert engine("start", "-a", "job", status=3).stdout.strip() == str(turn)
    assert engine.state("job") == "exited 3"
    engine("start", "job")
    assert engine("wait", "job").stdout == "3\n"
    assert engine("logs", "job").stdout.split() == ["1", "2", "3"]


def test_input_reaches_a_started_container(engine: Engine) -> None:
    engine("create", "-i", "--name", "cat", IMAGE, "cat")
    assert engine("start", "-ai", "cat", stdin="to the program\n").stdout == "to the program\n"


def test_stop_signal_and_trap(engine: Engine) -> None:
    script = "trap 'echo asked; exit 7' USR1; echo ready; while :; do sleep 0.1; done"
    engine("run", "-d", "--name", "polite", "--stop-signal", "USR1", IMAGE, "sh", "-c", script)
    while "ready" not in engine("logs", "polite").stdout:
        time.sleep(0.05)
    engine("stop", "polite")
    assert engine.state("polite") == "exited 7"
    assert "asked" in engine("logs", "polite").stdout


def test_kill_sends_any_signal(engine: Engine) -> None:
    engine("run", "-d", "--name", "kk", IMAGE, "sh", "-c", "trap 'exit 9' HUP; while :; do sleep 0.1; done")
    time.sleep(0.5)
    assert engine("kill", "-s", "HUP", "kk").stdout == "kk\n"
    assert engine("wait", "kk").stdout == "9\n"
    assert "is not running" in engine("kill", "kk", status=1).stderr


def test_restart_runs_the_same_container(engine: Engine) -> None:
    engine("run", "-d", "--name", "rr", IMAGE, "sh", "-c", "echo up; exec sleep 1000")
    before = engine.state("rr", "{{.State.Pid}} {{.Id}}").split()
    assert engine("restart", "-t", "0", "rr").stdout == "rr\n"
    after = engine.state("rr", "{{.State.Pid}} {{.Id}}").split()
    assert before[1] == after[1]
    assert before[0] != after[0]
    assert engine.state("rr") == "running 0"
    deadline = time.monotonic() + 10
    while engine("logs", "rr").stdout != "up\nup\n":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_rename_also_while_it_runs(engine: Engine) -> None:
    engine("run", "-d", "--name", "old", IMAGE, "sleep", "1000")
    engine("rename", "old", "new")
    assert engine.state("new") == "running 0"
    assert engine("inspect", "old", status=1).stdout.strip() == "[]"
    engine("create", "--name", "other", IMAGE, "true")
    assert "new" in engine("rename", "other", "new", status=1).stderr
    engine("create", "--name", "old", IMAGE, "true")  # the name is free again


def test_rm_of_several_tells_of_each(engine: Engine) -> None:
    for name in ("runs", "ended"):
        engine("run", "-d", "--name", name, IMAGE, *(("sleep", "1000") if name == "runs" else ("true",)))
    until("exited", engine, "ended")
    done = engine("rm", "runs", "none", "ended", status=1)
    assert done.stdout == "ended\n"
    assert "running" in done.stderr
    assert "none" in done.stderr
    assert engine("rm", "-f", "runs").stdout == "runs\n"


def test_rm_goes_with_its_run_and_refuses_what_runs(engine: Engine) -> None:
    engine("run", "-d", "--rm", "--name", "gone", IMAGE, "sleep", "1000")
    assert "running" in engine("rm", "gone", status=1).stderr
    engine("kill", "gone")
    deadline = time.monotonic() + 20
    while engine("ps", "-aq").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    nothing = engine("rm", "-f", "gone")  # what is not there needs no removal
    assert (nothing.stdout, "o such container" in nothing.stderr) == ("", True)


def test_rm_goes_with_the_name_that_it_has_at_the_end(engine: Engine) -> None:
    engine("run", "-d", "--rm", "--name", "before", IMAGE, "sleep", "1000")
    engine("rename", "before", "after")
    engine("create", "--name", "before", IMAGE, "true")
    engine("kill", "after")
    deadline = time.monotonic() + 20
    while engine("ps", "-a", "--format", "{{.Names}}").stdout != "before\n":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    engine("create", "--name", "after", IMAGE, "true")
    assert engine.state("before") == "created 0"


def test_restart_keeps_a_container_of_rm(engine: Engine) -> None:
    engine("run", "-d", "--rm", "--name", "kept", IMAGE, "sh", "-c", "cat /count; echo x >>/count; exec sleep 1000")
    container = engine.state("kept", "{{.Id}}")
    for said in ("x\n", "x\nx\nx\n"):
        engine("restart", "-t", "0", "kept")
        deadline = time.monotonic() + 20
        while engine("logs", "kept").stdout != said:  # docker loses one that is restarted again too soon
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert engine.state("kept", "{{.Id}} {{.State.Status}}") == f"{container} running"
    engine("stop", "-t", "0", "kept")
    deadline = time.monotonic() + 20
    while engine("ps", "-aq").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_devices_are_there_at_the_second_start(engine: Engine) -> None:
    engine("create", "--name", "nodes", "--device", "/dev/fuse", IMAGE, "sh", "-c", "test -c /dev/fuse && touch /dev/mine && echo yes")
    for _ in range(2):
        assert engine("start", "-a", "nodes").stdout == "yes\n"


@pytest.mark.parametrize("command", [["nothing-here"], ["/etc"]])
def test_a_program_that_cannot_start_is_told(engine: Engine, command: list[str]) -> None:
    done = engine("run", "-d", "--name", "bad", IMAGE, *command, status=None)
    assert done.returncode == (127 if command == ["nothing-here"] else 126)
    assert done.stderr
    assert command[0] in engine.state("bad", "{{.State.Error}}")


def test_several_at_once_and_one_that_is_not_there(engine: Engine) -> None:
    engine("create", "--name", "one", IMAGE, "true")
    engine("create", "--name", "two", IMAGE, "true")
    done = engine("rm", "one", "missing", "two", status=1)
    assert done.stdout.split() == ["one", "two"]
    assert "missing" in done.stderr
    assert "no such container" in done.stderr.lower()


def test_start_of_one_that_runs_and_stop_of_one_that_does_not_change_nothing(engine: Engine) -> None:
    engine("run", "-d", "--name", "ww", IMAGE, "sleep", "1000")
    pid = engine.state("ww", "{{.State.Pid}}")
    assert engine("start", "ww").stdout == "ww\n"
    assert engine.state("ww", "{{.State.Pid}}") == pid
    engine("kill", "ww")
    until("exited", engine, "ww")
    assert engine("stop", "ww").stdout == "ww\n"


def test_wait_for_several(engine: Engine) -> None:
    engine("run", "-d", "--name", "aa", IMAGE, "sh", "-c", "sleep 0.3; exit 4")
    engine("run", "-d", "--name", "bb", IMAGE, "sh", "-c", "exit 5")
    assert engine("wait", "aa", "bb").stdout == "4\n5\n"


def test_filters_of_ps(engine: Engine) -> None:
    engine("run", "-d", "--name", "running-one", "-l", "tier=web", IMAGE, "sleep", "1000")
    engine("create", "--name", "created-one", "-l", "tier=db", IMAGE, "true")
    engine("run", "--name", "ended-one", IMAGE, "sh", "-c", "exit 5", status=5)

    def names(*filters: str) -> set[str]:
        flags = [word for text in filters for word in ("-f", text)]
        return set(engine("ps", "-a", "--format", "{{.Names}}", *flags).stdout.split())

    assert names("status=running") == {"running-one"}
    assert names("status=created", "status=exited") == {"created-one", "ended-one"}
    assert names("exited=5") == {"ended-one"}
    assert names("label=tier") == {"running-one", "created-one"}
    assert names("label=tier=db") == {"created-one"}
    assert names("name=^/ended") == {"ended-one"}
    assert names("name=one") == {"running-one", "created-one", "ended-one"}
    assert names("before=created-one") == {"running-one"}
    assert names("since=created-one") == {"ended-one"}
    assert names(f"ancestor={IMAGE}", "status=running") == {"running-one"}
    assert set(engine("ps", "-n", "2", "--format", "{{.Names}}").stdout.split()) == {"created-one", "ended-one"}
    assert engine("ps", "-lq", "--no-trunc").stdout.strip() == engine.state("ended-one", "{{.Id}}")
    rows = [json.loads(line) for line in engine("ps", "-a", "--format", "json", "-f", "name=ended").stdout.splitlines()]
    assert [(row["Names"], row["State"]) for row in rows] == [("ended-one", "exited")]


def test_no_port_is_published(engine: Engine) -> None:
    engine("create", "--name", "silent", "--network", "none", IMAGE, "true")
    assert engine("port", "silent").stdout == ""
    assert "o public port '8080" in engine("port", "silent", "8080", status=1).stderr
    assert engine("port", "missing", status=1).stderr


def test_events_tell_what_happens_and_in_which_order(engine: Engine) -> None:
    begin = f"{time.time():.6f}"
    engine("run", "--rm", "--network", "none", "--name", "first", "-l", "tier=web", IMAGE, "sh", "-c", "exit 3", status=3)
    engine("run", "-d", "--network", "none", "--name", "second", IMAGE, "sleep", "1000")
    engine("rename", "second", "third")
    engine("exec", "third", "sh", "-c", "exit 4", status=4)
    engine("stop", "-t", "0", "third")
    engine("start", "third")
    engine("restart", "-t", "0", "third")
    engine("rm", "-f", "third")

    def told(form: str, *filters: str) -> list[str]:
        flags = [word for text in filters for word in ("-f", text)]
        return engine("events", "--since", begin, "--until", f"{time.time():.6f}", "--format", form, "-f", "type=container", *flags).stdout.splitlines()

    deadline = time.monotonic() + 20
    while len(told("{{.Action}}", "event=destroy")) < 2:  # the first goes behind its caller's back
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert told("{{.Action}} {{.Actor.Attributes.name}}", "container=first") == [f"{word} first" for word in ("create", "attach", "start", "die", "destroy")]
    assert told("{{.Action}} {{.Actor.Attributes.exitCode}}", "event=exec_create", "event=exec_start", "event=exec_die") == [
        "exec_create: sh -c exit 4 <no value>", "exec_start: sh -c exit 4 <no value>", "exec_die 4",
    ]  # fmt: skip
    assert len(set(told("{{.Actor.Attributes.execID}}", "event=exec_start", "event=exec_die"))) == 1
    assert [line for line in told("{{.Action}} {{.Actor.Attributes.name}}", "container=third") if "exec" not in line] == [
        f"{word} third"
        for word in ("rename", "kill", "kill", "die", "stop", "start", "kill", "kill", "die", "stop", "start", "restart", "kill", "die", "destroy")
    ]
    assert told("{{.Actor.Attributes.exitCode}}", "event=die") == ["3", "137", "137", "137"]
    assert told("{{.Actor.Attributes.signal}}", "event=kill", "container=third") == ["15", "9", "15", "9", "9"]
    assert told("{{.Type}} {{.Status}} {{.From}}", "label=tier=web", "event=start") == [f"container start {IMAGE}"]
    assert told("{{.Actor.Attributes.oldName}}", "event=rename") == ["/second"]
    line = json.loads(told("{{json .}}", "event=die", "container=first")[0])
    assert (line["Type"], line["Action"], line["scope"], line["Actor"]["Attributes"]["tier"]) == ("container", "die", "local", "web")
    assert line["timeNano"] // 10**9 == line["time"]


def test_attach_chooses_the_streams(engine: Engine) -> None:
    script = "echo out; echo err >&2; exit 3"
    flags = ("--rm", "--network", "none", "-a")
    done = engine("run", *flags, "stdout", IMAGE, "sh", "-c", script, status=3)
    assert (done.stdout, done.stderr) == ("out\n", "")
    done = engine("run", *flags, "STDERR", IMAGE, "sh", "-c", script, status=3)
    assert (done.stdout, done.stderr) == ("", "err\n")
    assert engine("run", *flags, "stdin", "-ia", "stdout", IMAGE, "cat", stdin="text").stdout == "text"
    for words in (["-a", "stdout", "-d"], ["-a", "nothing"]):
        done = engine("run", *words, IMAGE, "true", status=None)
        assert done.returncode
        assert done.stderr


def test_prune_takes_what_does_not_run(engine: Engine) -> None:
    engine("run", "-d", "--name", "stays", IMAGE, "sleep", "1000")
    engine("run", "--name", "goes", IMAGE, "true")
    container = engine.state("goes", "{{.Id}}")
    assert container in engine("container", "prune", "-f").stdout
    assert engine("ps", "-a", "--format", "{{.Names}}").stdout.split() == ["stays"]


def test_bytes_of_both_streams_are_kept_apart(engine: Engine) -> None:
    engine("run", "-d", "--name", "both", IMAGE, "sh", "-c", "echo out; echo err >&2")
    engine("wait", "both")
    done = engine("logs", "both")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_cidfile_names_the_container(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "cid"
    container = engine("run", "-d", "--cidfile", str(path), IMAGE, "true").stdout.strip()
    assert path.read_text() == container
    engine("wait", container)
    assert "cid" in engine("create", "--cidfile", str(path), IMAGE, "true", status=None).stderr


def test_wait_ends_with_the_run(engine: Engine) -> None:
    engine("run", "-d", "--name", "again", "--restart", "always", IMAGE, "sh", "-c", "sleep 0.5; exit 3")
    assert engine("wait", "again").stdout == "3\n"
    engine("rm", "-f", "again")


def test_wait_for_one_that_does_not_run(engine: Engine) -> None:
    engine("create", "--name", "idle", IMAGE, "true")
    assert engine("wait", "idle").stdout == "0\n"


# --- health checks -----------------------------------------------------------------------------------------------------------

OFTEN = ("--health-interval", "300ms", "--health-timeout", "20s", "--health-retries", "2", "--network", "none")
HEALTH = "{{if .State.Health}}{{.State.Health.Status}}{{end}}"


def test_health_comes_and_goes(engine: Engine) -> None:
    begin = f"{time.time():.6f}"
    script = "while :; do test -e /bad && rm /ok; sleep 0.1; done"
    engine("run", "-d", "--name", "hh", *OFTEN, "--health-cmd", "echo looked; rm -f /looked; touch /looked; test -e /ok || touch /ok /bad; test -e /ok", IMAGE, "sh", "-c", script)
    assert engine.state("hh", HEALTH) in ("starting", "healthy")
    until("healthy", engine, "hh", HEALTH)
    assert "(healthy)" in engine("ps").stdout
    assert engine("ps", "--format", "{{.Names}}", "-f", "health=healthy").stdout == "hh\n"
    assert engine("ps", "-q", "-f", "health=unhealthy", "-f", "health=none").stdout == ""
    assert engine.state("hh", "{{(index .State.Health.Log 0).Output}}") == "looked"
    engine("stop", "-t", "0", "hh")
    assert engine.state("hh", HEALTH) == "unhealthy"
    told = engine("events", "--since", begin, "--until", f"{time.time():.6f}", "-f", "event=health_status", "--format", "{{.Action}}").stdout
    assert told.splitlines()[0] == "health_status: healthy"


def test_failing_checks(engine: Engine) -> None:
    engine("run", "-d", "--name", "ff", *OFTEN, "--health-cmd", "echo no; exit 5", IMAGE, "sleep", "1000")
    until("unhealthy", engine, "ff", HEALTH)
    assert engine.state("ff", "{{(index .State.Health.Log 0).ExitCode}} {{(index .State.Health.Log 0).Output}}") == "5 no"
    assert "(unhealthy)" in engine("ps").stdout
    assert engine.state("ff", "{{.State.Status}}") == "running"
    engine("restart", "-t", "0", "ff")
    assert engine.state("ff", "{{.State.Health.Status}} {{.State.Health.FailingStreak}}") == "starting 0"
    assert "(health: starting)" in engine("ps").stdout


def test_checks_that_are_not_done(engine: Engine) -> None:
    engine("run", "-d", "--name", "none", "--no-healthcheck", "--network", "none", IMAGE, "sleep", "1000")
    assert engine.state("none", "{{json .State.Health}}") in ("null", "")
    assert engine.state("none", "{{json .Config.Healthcheck.Test}}") == '["NONE"]'
    assert engine("ps", "--format", "{{.Names}}", "-f", "health=none").stdout == "none\n"
    for words in (["--no-healthcheck", "--health-cmd", "x"], ["--health-cmd", "x", "--health-interval", "1us"], ["--health-retries", "-1"]):
        done = engine("create", *words, IMAGE, "true", status=None)
        assert done.returncode
        assert done.stderr
# --- pause -----------------------------------------------------------------------------------------------------------------


def test_paused_container_stands_still_and_goes_on(engine: Engine) -> None:
    engine("run", "-d", "--name", "still", IMAGE, "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done")
    while "3" not in engine("logs", "still").stdout.split():
        time.sleep(0.05)
    assert engine("pause", "still").stdout == "still\n"
    assert engine.state("still", "{{.State.Status}} {{.State.Running}} {{.State.Paused}}") == "paused true true"
    assert "(Paused)" in engine("ps").stdout
    assert engine("ps", "-f", "status=paused", "--format", "{{.Names}} {{.State}}").stdout == "still paused\n"
    assert engine("ps", "-qf", "status=running").stdout == ""
    before = engine("logs", "still").stdout
    time.sleep(0.5)
    assert engine("logs", "still").stdout == before
    assert engine("unpause", "still").stdout == "still\n"
    assert engine.state("still", "{{.State.Status}} {{.State.Paused}}") == "running false"
    while engine("logs", "still").stdout == before:
        time.sleep(0.05)


def test_what_a_paused_container_is_not_for(engine: Engine) -> None:
    engine("run", "-d", "--name", "pp", IMAGE, "sleep", "1000")
    assert "is not paused" in engine("unpause", "pp", status=1).stderr
    engine("pause", "pp")
    assert "already paused" in engine("pause", "pp", status=1).stderr
    assert "paused" in engine("start", "pp", status=1).stderr
    assert "paused" in engine("rm", "pp", status=1).stderr
    assert "paused" in engine("attach", "--no-stdin", "pp", status=1).stderr
    assert engine.state("pp") == "paused 0"
    engine("rename", "pp", "qq")
    engine("kill", "qq")
    until("exited", engine, "qq")
    assert engine.state("qq") == "exited 137"
    assert "is not running" in engine("pause", "qq", status=1).stderr
    assert "is not running" in engine("unpause", "qq", status=1).stderr + " is not running" * (engine.words[0] == "docker")
    engine("start", "qq")
    assert engine.state("qq") == "running 0"


def test_a_paused_container_ends_all_the_same(engine: Engine) -> None:
    """It is asked as any other, and goes on for that."""
    script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    for verb, code in ((["stop"], 7), (["kill"], 137), (["kill", "-s", "TERM"], 7), (["restart", "-t", "5"], None), (["rm", "-f"], None)):
        engine("run", "-d", "--name", "pp", "--stop-signal", "TERM", IMAGE, "sh", "-c", script)
        while "ready" not in engine("logs", "pp").stdout:
            time.sleep(0.05)
        engine("pause", "pp")
        engine(*verb, "pp")
        if code is not None:
            until("exited", engine, "pp")
            assert engine.state("pp") == f"exited {code}"
        elif verb[0] == "restart":
            assert engine.state("pp") == "running 0"
        engine("rm", "-f", "pp")


# --- limits and figures ------------------------------------------------------------------------------------------------------


def test_update_and_stats(engine: Engine) -> None:
    limits = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.CpuShares}} {{.HostConfig.PidsLimit}}"
    engine("run", "-d", "--name", "uu", "-m", "64m", IMAGE, "sleep", "1000")
    assert engine.state("uu", "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}") == f"{64 << 20} {128 << 20}"
    told = engine("update", "-m", "96m", "--memory-swap", "192m", "-c", "256", "--pids-limit", "77", "uu").stdout.splitlines()
    assert told[0] == "uu"  # Docker's daemon may have warnings to add
    assert engine.state("uu", limits) == f"{96 << 20} {192 << 20} 256 77"
    assert engine("update", "-m", "1g", "uu", status=None).returncode != 0
    figures = engine("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.MemUsage}}", "uu").stdout
    assert re.fullmatch(r"uu 1 [0-9.]+[KM]iB / 96MiB\n", figures)
    engine("restart", "-t", "0", "uu")
    assert engine.state("uu", limits) == f"{96 << 20} {192 << 20} 256 77"
    engine("update", "--restart", "always", "uu")
    assert engine.state("uu", "{{.HostConfig.RestartPolicy.Name}}") == "always"
    assert "no such container" in engine("update", "-m", "64m", "missing", status=1).stderr.lower()
    assert engine("update", "uu", status=None).returncode != 0


def test_out_of_memory_is_told(engine: Engine) -> None:
    engine("run", "--name", "eater", "-m", "16m", "--memory-swap", "16m", IMAGE, "tail", "/dev/zero", status=137)
    assert engine.state("eater", "{{.State.OOMKilled}} {{.State.ExitCode}}") == "true 137"
    assert "Exited (137)" in engine("ps", "-a").stdout


# --- restart policies ------------------------------------------------------------------------------------------------------


def test_on_failure_tries_so_often_and_no_more(engine: Engine) -> None:
    engine("run", "-d", "--name", "flaky", "--restart", "on-failure:2", IMAGE, "sh", "-c", "echo x >>/count; exit 3")
    until("exited 3 2", engine, "flaky", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}")
    assert engine.state("flaky", "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}") == "on-failure 2"
    engine("start", "flaky")  # counts from the beginning
    until("exited 2", engine, "flaky", "{{.State.Status}} {{.RestartCount}}")


def test_on_failure_leaves_success_alone(engine: Engine) -> None:
    engine("run", "-d", "--name", "fine", "--restart", "on-failure", IMAGE, "sh", "-c", "test -e /once && exit 0; touch /once; exit 1")
    until("exited 0 1", engine, "fine", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}")


@pytest.mark.parametrize("policy", ["always", "unless-stopped"])
def test_always_comes_back_until_it_is_stopped(engine: Engine, policy: str) -> None:
    engine("run", "-d", "--name", "back", "--restart", policy, IMAGE, "sh", "-c", "test -e /twice && exec sleep 1000; mv /once /twice; touch /once")
    until("running 2", engine, "back", "{{.State.Status}} {{.RestartCount}}")
    pid = engine.state("back", "{{.State.Pid}}")
    engine("stop", "-t", "0", "back")
    assert engine.state("back") == "exited 137"
    time.sleep(1)
    assert engine.state("back") == "exited 137"
    engine("start", "back")
    assert engine.state("back", "{{.State.Status}} {{.RestartCount}}") == "running 0"
    assert engine.state("back", "{{.State.Pid}}") != pid
    engine("restart", "-t", "0", "back")
    assert engine.state("back", "{{.State.Status}}") == "running"


def test_one_that_crashes_again_and_again(engine: Engine) -> None:
    """Its states, and that each verb ends it."""
    for verb in (["stop"], ["kill"], ["rm", "-f"]):
        engine("run", "-d", "--name", "loop", "--restart", "always", IMAGE, "sh", "-c", "exit 5")
        # By now there are 0.8 seconds between two runs.
        until("restarting true true 5 3", engine, "loop", "{{.State.Status}} {{.State.Running}} {{.State.Restarting}} {{.State.ExitCode}} {{.RestartCount}}")
        assert engine("ps", "--format", "{{.Names}}").stdout == "loop\n"
        assert "restarting" in engine("rm", "loop", status=1).stderr
        engine(*verb, "loop")
        if verb[0] != "rm":
            time.sleep(0.5)
            assert engine.state("loop") == "exited 5"
            engine("rm", "loop")


def test_the_caller_sees_the_first_end(engine: Engine) -> None:
    engine("run", "--name", "front", "--restart", "on-failure:1", IMAGE, "sh", "-c", "exit 6", status=6)
    until("exited 1", engine, "front", "{{.State.Status}} {{.RestartCount}}")


@pytest.mark.parametrize("words", [["--restart", "maybe"], ["--restart", "always:3"], ["--restart", "on-failure:x"], ["--restart", "always", "--rm"]])
def test_policies_that_are_none(engine: Engine, words: list[str]) -> None:
    assert engine("run", "-d", *words, IMAGE, "true", status=125).stderr
    assert engine("create", *words, IMAGE, "true", status=None).returncode != 0


# --- files -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def changed(engine: Engine) -> str:
    """A container that has ended, with files of its own."""
    script = "mkdir -p /new/deep; echo one > /new/deep/file; ln -s file /new/deep/link; rm /etc/motd; echo x >> /etc/hostname.mine; chmod 600 /etc/hostname.mine"
    engine("run", "--name", "files", IMAGE, "sh", "-c", script)
    return "files"


def test_cp_out_and_in(engine: Engine, changed: str, tmp_path: Path) -> None:
    engine("cp", f"{changed}:/new/deep", str(tmp_path / "out"))
    assert (tmp_path / "out/file").read_text() == "one\n"
    assert os.readlink(tmp_path / "out/link") == "file"
    engine("cp", f"{changed}:/new/deep/file", str(tmp_path))
    assert (tmp_path / "file").read_text() == "one\n"
    (tmp_path / "file").write_text("two\n")
    engine("cp", str(tmp_path / "file"), f"{changed}:/new")
    engine("cp", str(tmp_path / "out"), f"{changed}:/new/deep")
    archive = subprocess.run([*engine.words, "cp", f"{changed}:/new", "-"], env=engine.environment, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert sorted(tar.getnames()) == [
            "new", "new/deep", "new/deep/file", "new/deep/link", "new/deep/out", "new/deep/out/file", "new/deep/out/link", "new/file",
        ]  # fmt: skip
        member = tar.extractfile("new/file")
        assert member is not None
        assert member.read() == b"two\n"
    for words in ((f"{changed}:/nope", "."), (str(tmp_path / "nope"), f"{changed}:/"), (str(tmp_path / "file"), f"{changed}:/nope/"), ("missing:/x", ".")):
        assert engine("cp", *words, status=1).stderr


def test_diff_names_what_changed(engine: Engine, changed: str) -> None:
    lines = ["A /etc/hostname.mine", "A /new", "A /new/deep", "A /new/deep/file", "A /new/deep/link", "C /etc", "D /etc/motd"]
    assert sorted(engine("diff", changed).stdout.splitlines()) == lines


def test_commit_makes_an_image_of_it(engine: Engine, changed: str) -> None:
    changes = ("-c", 'CMD ["cat", "/new/deep/file"]', "-c", "ENV A=b", "-c", "LABEL made=here", "-c", "WORKDIR /new")
    assert engine("commit", "-m", "why", "-a", "who", *changes, changed, "local/files:1").stdout.startswith("sha256:")
    try:
        form = "{{json .Config.Cmd}} {{.Config.WorkingDir}} {{.Config.Labels.made}} {{.Author}} {{.Comment}}"
        assert engine("image", "inspect", "-f", form, "local/files:1").stdout.strip() == '["cat","/new/deep/file"] /new here who why'
        assert engine("run", "--rm", "--network", "none", "local/files:1").stdout == "one\n"
        script = "echo $A $PWD; test -e /etc/motd || echo gone; stat -c %a /etc/hostname.mine"
        assert engine("run", "--rm", "--network", "none", "local/files:1", "sh", "-c", script).stdout == "b /new\ngone\n600\n"
    finally:
        engine("rmi", "local/files:1")


def test_export_is_its_whole_tree(engine: Engine, changed: str, tmp_path: Path) -> None:
    engine("export", "-o", str(tmp_path / "tar"), changed)
    with tarfile.open(tmp_path / "tar") as tar:
        members = {member.name.rstrip("/"): member for member in tar}
    assert members["new/deep/link"].linkname == "file"
    assert members["etc/hostname.mine"].mode & 0o777 == 0o600
    assert "etc/motd" not in members
    assert {"bin/busybox", "etc/passwd"} <= members.keys()
