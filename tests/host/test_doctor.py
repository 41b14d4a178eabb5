"""`doctor` and `info` on this machine, and on one that lacks what they look for."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from estiba.linux import kvm, probes
from estiba.plan.helper import helper_path

if TYPE_CHECKING:
    import pytest

    from tests.support.command import Command


def test_doctor_runs_a_container_and_leaves_nothing(estiba: Command, environment: dict[str, str]) -> None:
    report = json.loads(estiba("doctor", "--format", "json").stdout)
    found = {finding["name"]: finding for finding in report["findings"]}
    assert report["healthy"] is True
    assert found["container"]["works"] is True
    assert {"kernel", "user namespaces", "ids", "store", "limits: memory", "KVM", "landlock", "foreign images"} <= set(found)
    assert found["foreign images"]["works"] is True
    assert "arm64" in found["foreign images"]["reason"]
    assert all(finding["reason"] for finding in found.values())
    assert estiba("images", "-q").stdout == "", "the trial's image is not the user's"


def test_doctor_names_the_step_that_fails(estiba: Command, tmp_path: Path) -> None:
    helper = tmp_path / "estiba-init"
    message = "estiba: cannot start container: user_namespace of the container: Operation not permitted"
    helper.write_text(f'#!/bin/sh\n[ "$1" = run ] || exec {helper_path()} "$@"\necho "{message}" >&2\nexit 125\n')
    helper.chmod(0o755)
    done = estiba("doctor", status=None, ESTIBA_HELPER=str(helper))
    assert done.returncode == 1
    assert "Containers do not run here yet" in done.stdout
    assert "hint: allow user namespaces" in done.stdout


def test_doctor_speaks_when_the_helper_is_broken(estiba: Command) -> None:
    done = estiba("doctor", status=1, ESTIBA_HELPER="/bin/false")
    assert "NO   container" in done.stdout


def test_a_forbidding_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "read_setting", lambda path: "0" if path.endswith("max_user_namespaces") else "")
    finding = probes.user_namespaces(uid=1000)
    assert not finding.works
    assert "max_user_namespaces" in finding.reason
    assert finding.remedy


def test_each_way_in_which_kvm_is_missing_has_its_own_hint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    denied = tmp_path / "kvm"
    denied.touch(mode=0o000)
    for path, hint in ((tmp_path / "none", "load the module kvm_intel"), (Path("/dev/null"), "ask whoever runs the outer machine")):
        monkeypatch.setattr(kvm, "DEVICE", str(path))
        assert probes.kvm_remedy().startswith(hint)
    monkeypatch.setattr(kvm, "DEVICE", str(denied))
    me = os.geteuid()
    os.seteuid(65534 if me == 0 else me)
    try:
        remedy = probes.kvm_remedy()
    finally:
        os.seteuid(me)
    assert "--groups kvm" in remedy
    assert "firmware" not in remedy


def test_doctor_says_what_para_is_here(estiba: Command, uml: Path) -> None:
    """With a kernel for User-Mode Linux alone: either there is none for QEMU, or KVM is of no use, and the reason is told."""
    estiba("kernel", "import", str(uml))
    report = json.loads(estiba("doctor", "--format", "json").stdout)
    found = {finding["name"]: finding for finding in report["findings"]}
    para = found["machine: para"]
    assert para["works"] is True
    assert re.match(r"a container ran \(\d+ ms with its store\) on User-Mode Linux, for ", para["reason"])
    why = "there is no kernel for QEMU" if found["KVM"]["works"] else f"KVM runs no guests here: {found['KVM']['reason']}"
    assert para["reason"].endswith(why)
    assert found["machine: full"]["reason"] == "there is no kernel for QEMU"


def test_info_has_what_scripts_ask_for(estiba: Command) -> None:
    facts = json.loads(estiba("info", "--format", "json").stdout)
    assert facts["Version"]
    assert facts["Security"]["NestedUserNamespaces"] == "off"
    assert estiba("info", "--format", "{{.Machine.Architecture}}").stdout.strip()
