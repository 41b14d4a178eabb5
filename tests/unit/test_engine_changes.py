"""`import --change`: each instruction's effect on the configuration, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from estiba.engine.changes import apply_changes
from estiba.errors import InvalidArgument


def changed(*changes: str) -> dict[str, Any]:
    config: dict[str, Any] = {}
    apply_changes(config, changes)
    return config


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (['CMD ["a", "b c"]'], {"Cmd": ["a", "b c"]}),
        (["cmd echo hi"], {"Cmd": ["/bin/sh", "-c", "echo hi"]}),
        (["CMD [not json"], {"Cmd": ["/bin/sh", "-c", "[not json"]}),
        (['ENTRYPOINT ["/init"]'], {"Entrypoint": ["/init"]}),
        (["ENV A=1 B='x y'"], {"Env": ["A=1", "B=x y"]}),
        (["ENV A the rest"], {"Env": ["A=the rest"]}),
        (["ENV P=/a", "ENV P=/b:$P Q=${P}x R=\\$P"], {"Env": ["P=/b:/a", "Q=/ax", "R=$P"]}),
        (["ENV A=$UNSET."], {"Env": ["A=."]}),
        (["LABEL a=b c.d='e f'", "LABEL a=2"], {"Labels": {"a": "2", "c.d": "e f"}}),
        (["EXPOSE 80 53/udp 90-91"], {"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "90/tcp": {}, "91/tcp": {}}}),
        (["USER 1000:100"], {"User": "1000:100"}),
        (['VOLUME ["/data", "/x y"]'], {"Volumes": {"/data": {}, "/x y": {}}}),
        (["VOLUME /a/../b"], {"Volumes": {"/b": {}}}),
        (["WORKDIR /a", "WORKDIR b"], {"WorkingDir": "/a/b"}),
        (["WORKDIR /../.."], {"WorkingDir": "/"}),
        (["STOPSIGNAL SIGQUIT"], {"StopSignal": "SIGQUIT"}),
        (["ONBUILD RUN x"], {"OnBuild": ["RUN x"]}),
        (["HEALTHCHECK NONE"], {"Healthcheck": {"Test": ["NONE"]}}),
        (
            ["HEALTHCHECK --interval=1m30s --retries=3 CMD curl x"],
            {"Healthcheck": {"Interval": 90 * 10**9, "Retries": 3, "Test": ["CMD-SHELL", "curl x"]}},
        ),
    ],
)
def test_effect(changes: list[str], expected: dict[str, Any]) -> None:
    assert changed(*changes) == expected


@pytest.mark.parametrize(
    "change",
    [
        "", "FROM x", "RUN true", "COPY a b", "CMD", "ENV A", "ENV =a", "ENV A=1 B", "ENV A='x", "ENV A=${B:-c}", "LABEL x",
        "EXPOSE 0", "EXPOSE 65536", "EXPOSE 9-8", "EXPOSE 80/icmp", "EXPOSE ٣", "USER a b", "USER a:b:c", "VOLUME rel",
        'VOLUME ["rel"]', "STOPSIGNAL no such", "ONBUILD FROM x", "HEALTHCHECK x", "HEALTHCHECK --retries=-1 CMD x",
        "HEALTHCHECK --interval=soon CMD x", "ENV A=\0",
    ],
)  # fmt: skip
def test_refused(change: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        changed(change)
    assert caught.value.message.startswith("cannot apply change")
    assert "\0" not in caught.value.message
