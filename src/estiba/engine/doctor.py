"""`doctor`: what this machine allows, by trying it: a container of the embedded image is run beside the store, on its file system."""

from __future__ import annotations

import os

from estiba.config.settings import Settings, load
from estiba.engine import foreign, hello, machine_doctor, reclaim
from estiba.engine.create import create
from estiba.engine.launching import prepare
from estiba.engine.resolve import resolve
from estiba.errors import EstibaError
from estiba.linux import cgroup, idmap, mountinfo, probes
from estiba.linux.probes import Finding
from estiba.oci.platform import Platform, host_platform
from estiba.runtime.options import RunOptions
from estiba.store import layers
from estiba.store.layout import Store

#: A failure record's step (helper/PROTOCOL.md), and what would let it pass.
_REMEDIES = {
    "user_namespace": "allow user namespaces: sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns",
    "namespaces": "allow namespaces to this process: an outer container needs --security-opt seccomp=unconfined",
    "uid_map": "give this user ids: as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER",
    "gid_map": "give this user ids: as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER",
    "idmap": "put the store on ext4, xfs, btrfs or tmpfs: --root or ESTIBA_ROOT",
    "overlay": "put the store on a file system that can hold an overlay's upper folder (ext4, xfs, tmpfs; not overlay itself): "
    "--root or ESTIBA_ROOT",
    "mount": "inside another container: start that one with --security-opt systempaths=unconfined",
}


class Report:
    """What was found. `healthy` tells that containers run."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        self.healthy = all(finding.works for finding in findings if finding.needed)

    def to_json(self) -> dict[str, object]:
        """The report as a JSON object."""
        return {"healthy": self.healthy, "findings": [finding.to_json() for finding in self.findings]}

    def lines(self) -> list[str]:
        """The report for a person: what works, why not, and what to do about it."""
        width = max(len(finding.name) for finding in self.findings)
        lines = []
        for finding in self.findings:
            word = "yes" if finding.works else "NO " if finding.needed else "no "
            lines.append(f"{word}  {finding.name:<{width}}  {finding.reason}")
            if finding.remedy and not finding.works:
                lines.append(f"     {'':<{width}}  hint: {finding.remedy}")
        return [*lines, "", "Containers run here." if self.healthy else "Containers do not run here yet: see the lines with NO."]


def doctor(settings: Settings) -> Report:
    """Tries what containers need of this machine. Raises what `Store.open` raises."""
    return Report(
        [
            probes.kernel(),
            probes.user_namespaces(settings.uid),
            _ids(settings),
            probes.system_call_filter(),
            _container(settings),
            _file_system(settings),
            *_controllers(settings),
            probes.landlock(),
            probes.kvm(),
            *(machine_doctor.machine(settings, rung) for rung in ("para", "partial", "full")),
            machine_doctor.auto(settings),
            _foreign(settings),
        ]
    )


def _ids(settings: Settings) -> Finding:
    try:
        kind = idmap.layer_maps(settings).kind
    except EstibaError as error:
        return Finding("ids", False, error.message, error.hint or "")
    if kind == "single":
        remedy = "as root: apt-get install uidmap; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER"
        return Finding("ids", False, "this user has one id: files of other owners appear as root's", remedy)
    return Finding("ids", True, "a range for each container" if kind == "root-range" else "this user's subordinate range")


def _file_system(settings: Settings) -> Finding:
    mount = mountinfo.covering(mountinfo.read(), os.path.realpath(settings.root))
    kind = mount.fstype if mount else "unknown"
    return Finding("store", kind != "overlay", f"{settings.root} on {kind}", _REMEDIES["overlay"])


def _controllers(settings: Settings) -> list[Finding]:
    host = cgroup.Host.of(settings, mountinfo.read())
    remedy = "run as root, or in a delegated cgroup: systemd-run --user --scope estiba run ..."
    return [
        Finding(f"limits: {name}", True, host.folders[name])
        if host.available(name)
        else Finding(f"limits: {name}", False, host.reasons.get(name, "no mounted hierarchy has the controller"), remedy)
        for name in ("memory", "cpu", "pids", "cpuset")
    ]


def _container(settings: Settings) -> Finding:
    """Runs the embedded image in a store of its own, beside the real one: the same file system, the same runtime folder."""
    store = Store.open(settings)
    try:
        code, said = _try(store, settings)
    except EstibaError as error:
        return Finding("container", False, error.message, error.hint or "", needed=True)
    if code == 0:
        return Finding("container", True, "namespaces, id maps, overlay and filter: a container ran", needed=True)
    step = said.partition("container: ")[2].partition(" ")[0]
    reason = said.splitlines()[0] if said else f"a container ended with {code}"
    return Finding("container", False, reason, _REMEDIES.get(step, ""), needed=True)


def _foreign(settings: Settings) -> Finding:
    """Runs a container for whose programs the first interpreter was registered."""
    host, options = host_platform(), RunOptions(hello.NAME)
    others = [name for name in foreign.ARCHITECTURES if not foreign.is_native(name, host.architecture)]
    found = [name for name in others if foreign.find(name, options) is not None]
    if not found:
        reason = foreign.reason(Platform("linux", others[0]), host, options)
        return Finding("foreign images", reason is None, reason or f"the host's table runs {others[0]}", "apt-get install qemu-user-static")
    try:
        code, said = _try(Store.open(settings), settings, found[0])
    except EstibaError as error:
        return Finding("foreign images", False, error.message, error.hint or "")
    return Finding("foreign images", code == 0, f"qemu-user: {' '.join(found)}" if code == 0 else said.strip())


def _try(store: Store, settings: Settings, architecture: str = "") -> tuple[int, str]:
    name = f"doctor-{os.getpid()}{architecture}"
    trial = load(root=f"{store.cache}/{name}")
    try:
        return _run(trial, architecture)
    finally:
        os.rename(trial.root, f"{store.trash}/{name}")
        layers.empty_trash(store, settings)


def _run(settings: Settings, architecture: str) -> tuple[int, str]:
    """The embedded image, as if it were of `architecture`."""
    store = Store.open(settings)
    hello.ensure(store, settings)
    options = RunOptions(hello.NAME)
    options.rm = True
    with store.using():
        stack = resolve(store, settings, options)
        stack.platform = Platform("linux", architecture) if architecture else stack.platform
        created = create(store, settings, options, stack)
    output = os.memfd_create("estiba-doctor", os.MFD_CLOEXEC)
    with os.fdopen(output, "rb") as said, open(os.devnull, "r+b") as null:
        code = prepare(store, settings, options, created).spawn(null.fileno(), null.fileno(), output).wait()
        reclaim.finish(settings, created.record)
        said.seek(0)
        return code, said.read().decode("utf-8", "replace")
