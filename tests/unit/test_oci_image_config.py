"""Image configurations: rows 15 to 21 of the bad inputs, and what is accepted."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estiba.errors import DataLoss
from estiba.oci.digest import DiffID, sha256_digest
from estiba.oci.image_config import ImageConfig, clean_path, epoch_seconds, parse_image_config

D = DiffID(sha256_digest(b"layer"))


def parse(section: Any = None, **top: Any) -> ImageConfig:
    document = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [D]}, "config": section, **top}
    return parse_image_config(json.dumps(document).encode())


def test_a_usual_one() -> None:
    config = parse(
        {
            "Env": ["PATH=/bin", "EMPTY=", "A=b=c"], "Entrypoint": ["/e"], "Cmd": ["a", ""], "User": "1000:adm", "WorkingDir": "/w",
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "8080": {}, "90-92/TCP": {}}, "Volumes": {"/data": {}, "rel/": {}},
            "Labels": {"a": "b", "n": None}, "StopSignal": "SIGQUIT", "Shell": ["/bin/sh", "-c"],
            "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5, "Timeout": 6, "StartPeriod": 7, "StartInterval": 8, "Retries": 3},
        },
        created="2024-02-29T12:00:00.5Z", history=[{"created_by": "x"}], variant="v2", author="me",
    )  # fmt: skip
    assert config.env == ["PATH=/bin", "EMPTY=", "A=b=c"]
    assert (config.entrypoint, config.cmd, config.user, config.working_dir) == (["/e"], ["a", ""], "1000:adm", "/w")
    assert config.exposed_ports == ["80/tcp", "53/udp", "8080/tcp", "90-92/tcp"]
    assert config.volumes == ["/data", "/rel"]
    assert config.labels == {"a": "b", "n": ""}
    assert (config.stop_signal, config.shell) == ("SIGQUIT", ["/bin/sh", "-c"])
    check = config.healthcheck
    assert check is not None
    assert (check.test, check.interval, check.timeout) == (["CMD", "x"], 5, 6)
    assert (check.start_period, check.start_interval, check.retries) == (7, 8, 3)
    assert config.created == "2024-02-29T12:00:00.5Z"
    assert config.diff_ids == [D]
    assert config.platform.text == "linux/amd64/v2"
    assert config.warnings == []
    assert json.loads(config.raw)["author"] == "me"


@pytest.mark.parametrize(
    "section", [None, {}, dict.fromkeys(("Env", "Cmd", "Entrypoint", "Volumes", "Labels", "User", "Healthcheck", "ExposedPorts"))]
)
def test_null_is_absent(section: Any) -> None:
    config = parse(section, history=None)
    assert (config.env, config.cmd, config.entrypoint, config.volumes, config.labels, config.user) == ([], [], [], [], {}, "")
    assert config.healthcheck is None
    assert config.history == []


def test_entrypoint_as_one_string() -> None:
    assert parse({"Entrypoint": "sh"}).entrypoint == ["sh"]
    assert parse({"Entrypoint": []}).entrypoint == []
    assert parse({"Entrypoint": [""]}).entrypoint == [""]


def test_env_without_value_is_ignored_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "secret of the host")
    config = parse({"Env": ["X", "A=b"]})
    assert config.env == ["A=b"]
    assert len(config.warnings) == 1
    assert "'X'" in config.warnings[0]


def test_reserved_labels_are_dropped() -> None:
    config = parse({"Labels": {"org.estiba.privileged": "1", "org.estibad": "kept"}})
    assert config.labels == {"org.estibad": "kept"}
    assert "org.estiba.privileged" in config.warnings[0]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"Entrypoint": [None]}, "array of strings"),
    ({"Entrypoint": {"a": 1}}, "array of strings"),
    ({"Entrypoint": ["a\0b"]}, "NUL"),
    ({"Cmd": "a\0b"}, "NUL"),
    ({"Cmd": 5}, "array of strings"),
    ({"Env": ["=a"]}, "no name"),
    ({"Env": [""]}, "no name"),
    ({"Env": ["A\0B=c"]}, "NUL"),
    ({"Env": ["A=\0"]}, "NUL"),
    ({"Env": "A=b"}, "array of strings"),
    ({"Env": {"A": "b"}}, "array of strings"),
    ({"User": "٣"}, "User"),
    ({"User": "4294967296"}, "User"),
    ({"User": "4294967295"}, "User"),
    ({"User": "a:b:c"}, "User"),
    ({"User": "a\nroot"}, "User"),
    ({"User": 0}, "not a string"),
    ({"WorkingDir": "a\0"}, "NUL"),
    ({"WorkingDir": "/" + "x" * 5000}, "limit is 4095"),
    ({"Volumes": {"/../../etc": {}}}, "without '..'"),
    ({"Volumes": {"..": {}}}, "without '..'"),
    ({"Volumes": {"/a\n": {}}}, "without '..'"),
    ({"Volumes": {"/": {}}}, "root folder"),
    ({"Volumes": {"": {}}}, "root folder"),
    ({"Volumes": {f"/{i}": {} for i in range(100_000)}}, "limit is 1000"),
    ({"Volumes": ["/a"]}, "not an object"),
    ({"ExposedPorts": {"0/tcp": {}}}, "ExposedPorts"),
    ({"ExposedPorts": {"65536/tcp": {}}}, "ExposedPorts"),
    ({"ExposedPorts": {"80/icmp": {}}}, "ExposedPorts"),
    ({"ExposedPorts": {"80-/tcp": {}}}, "ExposedPorts"),
    ({"ExposedPorts": {"٣": {}}}, "ExposedPorts"),
    ({"Labels": {"a": 1}}, "object of strings"),
    ({"Labels": ["a=b"]}, "object of strings"),
    ({"StopSignal": "SIG TERM"}, "StopSignal"),
    ({"StopSignal": 15}, "not a string"),
    ({"Healthcheck": {"Test": "x"}}, "array of strings"),
    ({"Healthcheck": {"Interval": -1}}, "not an integer"),
    ({"Healthcheck": {"Retries": 2**31}}, "not an integer"),
    ({"Healthcheck": {"Interval": 1.5}}, "not an integer"),
]


@pytest.mark.parametrize(("section", "why"), REFUSED, ids=[str(row[0])[:40] for row in REFUSED])
def test_refused(section: dict[str, Any], why: str) -> None:
    with pytest.raises(DataLoss) as caught:
        parse(section)
    assert why in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("user", ["٣", "4294967296", "a:b:c"])
def test_a_wrong_user_is_told_the_grammar(user: str) -> None:
    with pytest.raises(DataLoss) as caught:
        parse({"User": user})
    assert "USER[:GROUP]" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("top", "why"),
    [
        ({"rootfs": {"type": "zip", "diff_ids": []}}, "'zip'"),
        ({"rootfs": {"type": "layers", "diff_ids": ["x"]}}, "malformed digest"),
        ({"rootfs": {"type": "layers", "diff_ids": [D] * 501}}, "limit is 500"),
        ({"rootfs": {"type": "layers", "diff_ids": [1]}}, "array of strings"),
        ({"rootfs": []}, "not an object"),
        ({"architecture": 5}, "not a string"),
        ({"architecture": "a\nb"}, "malformed"),
        ({"os": "x" * 65}, "malformed"),
        ({"config": []}, "not an object"),
    ],
)
def test_refused_at_the_top(top: dict[str, Any], why: str) -> None:
    with pytest.raises(DataLoss) as caught:
        parse({}, **top) if "config" not in top else parse(section=top["config"])
    assert why in caught.value.message


@pytest.mark.parametrize(
    "created", ["0000", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2024-02-30T00:00:00Z", "", "x", 5, None, ["x"]]
)
def test_strange_dates_are_unknown(created: Any) -> None:
    config = parse(created=created)
    assert config.created is None
    assert config.created_seconds is None


@pytest.mark.parametrize("history", [None, [], [{}] * 50, [None, "x"], "x", 5, {}])
def test_history_is_tolerated(history: Any) -> None:
    assert all(isinstance(entry, dict) for entry in parse(history=history).history)


@pytest.mark.parametrize(
    ("path", "clean"),
    [("a/../../b", "/b"), ("/proc/self/fd/7", "/proc/self/fd/7"), ("/", "/"), ("//a//b/.", "/a/b"), ("..", "/"), ("a", "/a")],
)
def test_working_dir_stays_inside(path: str, clean: str) -> None:
    assert clean_path(path) == clean
    assert parse({"WorkingDir": path}).working_dir == clean


@given(st.integers(0, 253370764800 - 86400), st.integers(-14 * 60, 14 * 60))
def test_dates_as_the_standard_library_reads_them(seconds: int, minutes: int) -> None:
    moment = dt.datetime.fromtimestamp(seconds, dt.timezone(dt.timedelta(minutes=minutes)))
    assert epoch_seconds(moment.isoformat()) == (seconds if moment.year >= 1970 else None)


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01T00:00:00",
        "2024-01-01T24:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00+1",
        "٢٠٢٤-01-01T00:00:00Z",
        "2024-01-01X00:00:00Z",
    ],
)
def test_malformed_dates(text: str) -> None:
    assert epoch_seconds(text) is None


@given(st.binary(max_size=200))
def test_no_bytes_are_a_crash(data: bytes) -> None:
    try:
        parse_image_config(data)
    except DataLoss:
        pass
