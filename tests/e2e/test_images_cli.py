"""The image verbs through the command line: what scripts see, exit codes, and one line for every bad input."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.command import Command, command_under_test
from tests.support.users import User


@pytest.fixture
def base(estiba: Command, alpine_tar: Path) -> str:
    return estiba("import", "-c", 'CMD ["/bin/sh"]', "-m", "a base", str(alpine_tar), "local/base:1").stdout.strip()


def one_line(stderr: str) -> str:
    """The message: one line, then perhaps a hint."""
    first, *rest = stderr.splitlines()
    assert first.startswith("estiba: cannot "), stderr
    assert [line for line in rest if not line.startswith("hint: ")] == [], stderr
    return first


def test_import_lists_inspects_and_tells_history(estiba: Command, base: str) -> None:
    assert estiba("images", "-q", "--no-trunc").stdout.strip() == base
    assert estiba("images", "--format", "{{.Repository}}:{{.Tag}}").stdout == "local/base:1\n"
    assert estiba("image", "inspect", "-f", "{{.Id}} {{json .Config.Cmd}}", "local/base:1").stdout == f'{base} ["/bin/sh"]\n'
    assert estiba("history", "--format", "{{.Comment}}", "local/base:1").stdout == "a base\n"
    assert estiba("system", "df").stdout.startswith("TYPE")
    assert "nothing is damaged" in estiba("system", "check").stdout


def test_import_from_standard_input(estiba: Command, alpine_tar: Path, base: str) -> None:
    assert estiba("import", "-", "piped", stdin=gzip.decompress(alpine_tar.read_bytes())).stdout.startswith("sha256:")
    layers = {estiba("inspect", "-f", "{{json .RootFS.Layers}}", name).stdout for name in ("piped", "local/base:1")}
    assert len(layers) == 1


def test_save_and_load(estiba: Command, tmp_path: Path, base: str) -> None:
    estiba("tag", "local/base:1", "second:2")
    estiba("save", "-o", "a.tar", "local/base:1", "second:2")
    other = str(tmp_path / "other")
    loaded = "Loaded image: local/base:1\nLoaded image: second:2\n"
    assert estiba("load", "-q", "-i", "a.tar", ESTIBA_ROOT=other).stdout == loaded
    assert estiba("load", "-q", stdin=(tmp_path / "a.tar").read_bytes(), ESTIBA_ROOT=other).stdout == loaded
    assert estiba("images", "-q", "--no-trunc", ESTIBA_ROOT=other).stdout.split() == [base, base]
    done = subprocess.run(
        [*command_under_test(), "save", "local/base:1"], capture_output=True, check=True,
        env=os.environ | {"ESTIBA_ROOT": str(tmp_path / "other"), "XDG_RUNTIME_DIR": str(tmp_path / "run")},
    )  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert {"index.json", "manifest.json", "oci-layout"} <= set(archive.getnames())


def test_rmi(estiba: Command, base: str) -> None:
    estiba("tag", base, "second")
    failed = estiba("rmi", base[7:19], status=1)
    assert "several names" in one_line(failed.stderr)
    assert estiba("rmi", "second").stdout == "Untagged: second:latest\n"
    assert f"Deleted: {base}\n" in estiba("rmi", "local/base:1").stdout
    assert estiba("images", "-q").stdout == ""
    assert "cannot find image 'local/base:1'" in one_line(estiba("rmi", "local/base:1", status=1).stderr)


def test_stack_tree_and_explain(estiba: Command, base: str) -> None:
    estiba("image", "from-host", "tools", "sh")
    both = estiba("image", "stack", "-t", "both", "local/base:1", "tools").stdout.strip()
    assert both.startswith("sha256:")
    assert "PATH" in estiba("image", "stack", "--explain", "local/base:1", "tools").stdout
    tree = json.loads(estiba("image", "tree", "--format", "json").stdout)
    assert [len(image["layers"]) for image in tree["images"] if image["id"] == both] == [2]
    assert "shared with both:latest" in estiba("image", "tree", "tools").stdout


def test_prune(estiba: Command, base: str) -> None:
    assert estiba("image", "prune", "-f").stdout == "Total reclaimed space: 0B\n"
    said = estiba("image", "prune", "-af").stdout
    assert f"deleted: {base}" in said
    assert "Total reclaimed space: 0B" not in said


def test_system_prune_takes_containers_that_have_ended(estiba: Command, base: str) -> None:
    estiba("run", "hello")
    assert "removes containers that have ended" in estiba("rmi", "hello", status=1).stderr
    estiba("system", "prune", "-f", "--filter", "until=1h")
    assert json.loads(estiba("system", "df", "--format", "json").stdout.splitlines()[1])["TotalCount"] == "1"
    assert estiba("system", "prune", "-f").stdout.startswith("Deleted Containers:\n")
    estiba("rmi", "hello")
    assert base in estiba("images", "-q", "--no-trunc").stdout


def archive(path: Path, members: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return str(path)


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ({"../evil": b""}, "'../evil' lies outside"),
        ({"manifest.json": b'[{"Config": "../../x", "RepoTags": ["a:1"], "Layers": []}]'}, "'../../x' lies outside"),
        ({"manifest.json": b'[{"Config": "x", "RepoTags": ["a:1"], "Layers": []}]'}, "'x' is missing"),
        ({"manifest.json": b"[" * 1000}, "manifest.json"),
        ({"manifest.json": b"\xff\xfe[]"}, "byte order mark"),
        ({"nothing": b""}, "neither manifest.json nor index.json"),
        ({"a\x1b[31m\n": b"", "index.json": b"{}", "oci-layout": b"{}"}, "cannot "),
    ],
)
def test_bad_archives(estiba: Command, tmp_path: Path, members: dict[str, bytes], part: str) -> None:
    path = archive(tmp_path / "bad.tar", members)
    said = [estiba("load", "-i", path, status=1).stderr for _ in range(2)]
    assert said[0] == said[1]
    assert part in one_line(said[0])
    assert "\x1b" not in said[0]
    assert estiba("images", "-aq").stdout == ""


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["load", "-i", "/nonexistent"], 1),
        (["import", "/nonexistent"], 1),
        (["import", "/dev/null", "UPPER"], 125),
        (["import", "-c", "RUN x", "/dev/null"], 125),
        (["save", "nothing"], 1),
        (["tag", "nothing", "x"], 1),
        (["history", "nothing"], 1),
        (["images", "--filter", "x=y"], 125),
        (["image", "stack", "-t", "x", "one"], 125),
        (["image", "from-host", "x", "no-such-program"], 1),
        (["bundle", "hello", "/dev/null/x"], 125),
    ],
)
def test_bad_arguments(estiba: Command, words: list[str], status: int) -> None:
    one_line(estiba(*words, status=status).stderr)


def test_an_ordinary_user(ordinary_user: User, alpine_tar: Path, tmp_path: Path) -> None:
    """With subordinate ids and without: the same layers, the same archives."""

    def estiba(*words: str) -> subprocess.CompletedProcess[str]:
        return ordinary_user.run(str(ordinary_user.python), "-m", "estiba", *words)

    copy = ordinary_user.folder / "root.tar.gz"
    copy.write_bytes(alpine_tar.read_bytes())
    copy.chmod(0o644)
    try:
        image = estiba("import", str(copy), "mine").stdout.strip()
        estiba("image", "from-host", "tools", "sh")
        estiba("image", "stack", "-t", "both", "mine", "tools")
        estiba("save", "-o", "a.tar", "both", "mine")
        assert "Untagged: mine:latest" in estiba("rmi", "mine", "both", "tools").stdout
        assert estiba("load", "-q", "-i", "a.tar").stdout == "Loaded image: both:latest\nLoaded image: mine:latest\n"
        assert estiba("inspect", "-f", "{{.Id}}", "mine").stdout.strip() == image
        assert "nothing is damaged" in estiba("system", "check").stdout
        estiba("bundle", "mine", "bundle", "/bin/true")
        assert (ordinary_user.folder / "bundle/rootfs/etc/passwd").stat().st_uid == ordinary_user.uid
    finally:
        estiba("image", "prune", "-af")
        ordinary_user.run("rm", "-rf", "a.tar", "bundle", "root.tar.gz")
