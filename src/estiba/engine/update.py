"""`update`: other limits, and another restart policy, for a container that runs or not."""

from __future__ import annotations

import resource
from typing import Any

from estiba.config.settings import Settings
from estiba.engine import containers, documents, event_log, health, records, supervision, updating
from estiba.engine.containers import Container
from estiba.errors import Conflict, FailedPrecondition, OnFailure
from estiba.linux import cgroup, facts, idmap
from estiba.linux.cgroup import Group
from estiba.linux.facts import HostFacts
from estiba.runtime import limits
from estiba.runtime.options import RunOptions
from estiba.runtime.parse_limits import UNLIMITED
from estiba.store.layout import Store

#: What limits the jail of a machine; the others are its guest's, which was given them at its start.
_OF_JAIL = ("cpu", "blockIO")


def update(store: Store, settings: Settings, name: str, options: RunOptions, *, policy: bool = False) -> str:
    """Changes the limits of a container that `options` has, and with `policy` its restart policy; returns its id.

    One that runs is held to them at once, and each later start is. When the kernel refuses one, nothing is changed.
    Raises NotFound, Conflict (an ambiguous id; --cpus where --cpu-quota says the same), InvalidArgument for limits that contradict each
    other, FailedPrecondition for one that this machine, or a running container, cannot be held to.
    """
    container = containers.find(store, name)
    with containers.lock(container):
        container = containers.again(store, container)
        if policy and container.remove and options.restart != "no":
            raise Conflict(f"cannot update container {container.name}: one that goes with its run is not there to start again")
        _Update(store, settings, container, options, policy=policy).carry_out()
        event_log.container(container, "update")
    return container.id


class _Update:
    def __init__(self, store: Store, settings: Settings, container: Container, options: RunOptions, *, policy: bool) -> None:
        self.store = store
        self.settings = settings
        self.container = container
        self.options = options
        self.policy = policy
        self.state = documents.read_json(f"{container.folder}/state.json")
        self.spec = container.spec()

    def carry_out(self) -> None:
        asked = self._asked()
        before = self.spec["linux"]["resources"]
        after = limits.changed(before, self.options, self._facts())
        sections = {name: section for name, section in after.items() if section != before.get(name)}
        host = facts.gather(self.settings, idmap.layer_maps(self.settings)).cgroups
        parent = self.container.options.get("cgroup_parent") or cgroup.PARENT
        wanted = {name: sections[name] for name in sections if not self.container.kernel or name in _OF_JAIL}
        groups = host.groups(self.container.id, wanted, parent=str(parent))
        if self.container.pid:
            self._refuse_machine(sections)
            self._refuse_missing(groups)
        else:
            groups = []
        rlimits = _processes(self.spec, before.get("pids"), after.get("pids"))
        raised = self._raised(after["pids"]["limit"]) if groups and rlimits != self.spec["process"]["rlimits"] else None
        spec = {
            **self.spec,
            "linux": {**self.spec["linux"], "resources": after},
            "process": {**self.spec["process"], "rlimits": rlimits},
        }
        for group in groups:
            cgroup.enable(group)
        if self.policy:
            self._make_undecided()
        files = {"config.json": spec, "state.json": self._state(asked)}
        with OnFailure(self._supervise):
            updating.carry_out(self.store, self.container, groups, raised, files)
        self._supervise()

    def _facts(self) -> HostFacts:
        if self.container.kernel:
            from estiba.engine import machines
            from estiba.machine import guest

            machines.refuse(self.options)
            return guest.facts()
        return facts.gather(self.settings, idmap.layer_maps(self.settings))

    def _refuse_machine(self, sections: dict[str, object]) -> None:
        given = [name for name in sections if name not in _OF_JAIL]
        if self.container.kernel and given:
            raise FailedPrecondition(
                f"cannot update container {self.container.name}: its machine was given {' and '.join(given)} at its start",
                hint=f"stop it first: estiba stop {self.container.name}",
            )

    def _refuse_missing(self, groups: list[Group]) -> None:
        record = records.read(self.settings, self.container.id)
        for group in groups:
            if record is None or group.path not in record.cgroups:
                raise FailedPrecondition(
                    f"cannot update container {self.container.name}: it was started without the control group {group.path}",
                    hint="one that is started with -d has a group for every limit",
                )

    def _raised(self, limit: int) -> tuple[int, int] | None:
        """RLIMIT_NPROC of what runs, and a higher one that goes with `limit`: it is as high as the limit of the group was."""
        try:
            hard = resource.prlimit(self.container.pid, resource.RLIMIT_NPROC)[1]
        except ProcessLookupError:
            return None  # it has just ended
        return (hard, limit) if limit == UNLIMITED or UNLIMITED != hard < limit else None

    def _asked(self) -> dict[str, object]:
        """What `inspect` shows of --cpus, --cpu-quota and --cpu-period. They say the same, so the container has one or the others."""
        asked = dict(self.state.get("asked", {}))
        shown = dict(asked.get("HostConfig", {}))
        options, name = self.options, self.container.name
        if options.nano_cpus is not None and ("CpuQuota" in shown or "CpuPeriod" in shown):
            raise Conflict(f"cannot update container {name}: --cpus says the same as the --cpu-quota or --cpu-period that it has")
        if (options.cpu_quota is not None or options.cpu_period is not None) and "NanoCpus" in shown:
            raise Conflict(f"cannot update container {name}: --cpu-quota and --cpu-period say the same as the --cpus that it has")
        given = {"NanoCpus": options.nano_cpus, "CpuQuota": options.cpu_quota, "CpuPeriod": options.cpu_period}
        return {**asked, "HostConfig": shown | {member: value for member, value in given.items() if value is not None}}

    def _state(self, asked: dict[str, object]) -> dict[str, object]:
        options = dict(self.container.options)
        for name in ("memory", "pids_limit"):
            if getattr(self.options, name) is not None:
                options[name] = getattr(self.options, name)
        state = {**self.state, "asked": asked, "options": options}
        if self.policy:
            state["restart"] = {"policy": self.options.restart, "maximum": self.options.restart_maximum}
        return state

    def _make_undecided(self) -> None:
        """Leaves an entry by which the next command, should this one be killed, sees whether the container is to have a supervisor."""
        if self.options.restart == "no" and not health.is_on(self.container.check):
            supervision.dismiss(self.container, keep=True)
        elif self.container.pid:
            supervision.note(self.settings, self.container.id, self.container.folder)

    def _supervise(self) -> None:
        if not self.policy:
            return
        container = containers.again(self.store, self.container)
        if supervision.is_wanted(container) and container.pid:
            supervision.ensure(self.settings, container.id, container.folder)
        elif not supervision.is_wanted(container):
            supervision.dismiss(container)


def _processes(spec: dict[str, Any], before: dict[str, int] | None, after: dict[str, int] | None) -> list[dict[str, Any]]:
    """The spec's limits of setrlimit(2), with that of processes in step with the group's, unless the user gave another."""
    limits: list[dict[str, Any]] = spec["process"]["rlimits"]
    if before == after or before is None or after is None:
        return limits
    kept = [each for each in limits if each["type"] != "RLIMIT_NPROC" or each["hard"] != before["limit"]]
    if len(kept) == len(limits) or after["limit"] == UNLIMITED:
        return kept
    return [*kept, {"type": "RLIMIT_NPROC", "soft": after["limit"], "hard": after["limit"]}]
