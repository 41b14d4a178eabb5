"""`inspect` of a container, in the shape of Docker's (Engine API, ContainerInspect), as far as estiba has what it names."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from estiba.config.settings import Settings
from estiba.engine import containers, documents, health, records
from estiba.engine.containers import Container
from estiba.engine.df import written
from estiba.linux.cgroup_usage import oom_kills
from estiba.oci.digest import DiffID
from estiba.runtime.parse_limits import UNLIMITED
from estiba.runtime.spec import INIT, SECCOMP, STOP_SIGNAL, USER
from estiba.store.layers import layer_info
from estiba.store.layout import Store

_NEVER = "0001-01-01T00:00:00Z"  # Docker's, Go's zero time
_DEFAULT_SHM = 64 << 20


def inspect_container(store: Store, settings: Settings, name: str, *, size: bool = False) -> dict[str, object]:
    """Docker's JSON object of a container; `size` adds the bytes that it wrote, and those with its image.

    Raises NotFound, Conflict (an ambiguous id), DataLoss.
    """
    container = containers.find(store, name)
    if os.path.exists(f"{container.folder}/update.json"):
        from estiba.engine import updating

        updating.finish_alone(store, container.folder)
        container = containers.find(store, container.id)
    state = documents.read_json(f"{container.folder}/state.json")
    spec = container.spec()
    asked = state.get("asked", {})
    record = records.read(settings, container.id) if container.pid else None
    return {
        "Id": container.id,
        "Created": _time(container.created),
        "Path": container.command[0] if container.command else "",
        "Args": container.command[1:],
        "State": _state(container, record.cgroups if record else []),
        "Image": container.image,
        "ResolvConfPath": f"{container.folder}/resolv.conf",
        "HostnamePath": f"{container.folder}/hostname",
        "HostsPath": f"{container.folder}/hosts",
        "LogPath": "" if container.log.get("driver") == "none" else f"{container.folder}/log",
        "Name": f"/{container.name}",
        "RestartCount": container.restarts,
        "Driver": "overlayfs",
        "Platform": container.platform.partition("/")[0] or "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": None,
        "HostConfig": _host_config(container, spec, asked.get("HostConfig", {})),
        "GraphDriver": _graph(store, container),
        **(_sizes(store, container) if size else {}),
        "Mounts": [_mount(container, entry) for entry in container.volumes],
        "Config": _config(container, spec, asked.get("Config", {})),
        "NetworkSettings": _network(container, asked.get("Config", {})),
        "Cgroups": record.cgroups if record else [],
    }


def _state(container: Container, groups: list[str]) -> dict[str, object]:
    alive = container.status in ("running", "paused", "restarting")
    return {
        "Status": container.status,
        "Running": alive,
        "Paused": container.status == "paused",
        "Restarting": container.status == "restarting",
        "OOMKilled": container.oom or any(map(oom_kills, groups)),
        "Dead": False,
        "Pid": container.pid,
        "ExitCode": 0 if container.pid else container.exit_code or 0,
        "Error": container.error,
        "StartedAt": _time(container.started),
        "FinishedAt": _time(container.finished),
        "Health": None if (found := health.of(container)) is None else found.shown(),
    }


def _config(container: Container, spec: dict[str, Any], asked: dict[str, Any]) -> dict[str, object]:
    process, annotations = spec["process"], spec["annotations"]
    user = annotations.get(USER, "")
    return {
        "Hostname": spec.get("hostname", ""),
        "Domainname": spec.get("domainname", ""),
        "User": "" if user == "0" else user,
        **{f"Attach{stream.capitalize()}": stream in asked.get("Attach", []) for stream in ("stdin", "stdout", "stderr")},
        **({"ExposedPorts": asked["ExposedPorts"]} if "ExposedPorts" in asked else {}),
        "Tty": process["terminal"],
        "OpenStdin": container.interactive,
        "StdinOnce": container.interactive,
        "Env": process["env"],
        "Cmd": asked.get("Cmd"),
        "Image": container.reference,
        "Volumes": {str(entry["target"]): {} for entry in container.volumes if _is_own(container, entry)} or None,
        **health.inspected(container.check),
        "WorkingDir": process["cwd"],
        "Entrypoint": asked.get("Entrypoint"),
        "OnBuild": None,
        "Labels": container.labels,
        "StopSignal": asked.get("StopSignal") or annotations.get(STOP_SIGNAL, "15"),
        **({} if container.stop_timeout is None else {"StopTimeout": container.stop_timeout}),
    }


def _host_config(container: Container, spec: dict[str, Any], asked: dict[str, object]) -> dict[str, object]:
    options = container.options
    own = [entry for entry in container.volumes if not _is_own(container, entry)]
    return {
        "Binds": [f"{entry['source']}:{entry['target']}" + (":ro" if entry.get("read_only") else "") for entry in own] or None,
        "ContainerIDFile": asked.get("ContainerIDFile", ""),
        "LogConfig": {
            "Type": container.log.get("driver", "cri"),
            "Config": {"max-size": str(container.log.get("max_size", "")), "max-file": str(container.log.get("max_file", ""))},
        },
        "NetworkMode": options.get("network", "none"),
        "PortBindings": {},
        "RestartPolicy": {"Name": container.restart, "MaximumRetryCount": container.restart_maximum},
        "AutoRemove": container.remove,
        "VolumeDriver": "",
        "VolumesFrom": asked.get("VolumesFrom"),
        "CapAdd": asked.get("CapAdd"),
        "CapDrop": asked.get("CapDrop"),
        "CgroupParent": options.get("cgroup_parent") or "",
        "CgroupnsMode": options.get("cgroupns", "private"),
        **{name: asked.get(name, []) for name in ("Dns", "DnsOptions", "DnsSearch")},
        "ExtraHosts": asked.get("ExtraHosts"),
        "GroupAdd": asked.get("GroupAdd"),
        "IpcMode": options.get("ipc", "private"),
        "Links": None,
        "OomScoreAdj": spec["process"].get("oomScoreAdj", 0),
        "PidMode": _unless_private(options.get("pid")),
        "Privileged": options.get("privileged", False),
        "PublishAllPorts": False,
        "ReadonlyRootfs": spec["root"]["readonly"],
        "SecurityOpt": _security(spec),
        "Tmpfs": {mount["destination"]: ",".join(mount["options"]) for mount in spec["mounts"] if _is_asked_tmpfs(mount)},
        "UTSMode": _unless_private(options.get("uts")),
        "UsernsMode": _unless_private(options.get("userns")),
        "ShmSize": asked.get("ShmSize", _DEFAULT_SHM),
        "Sysctls": dict(spec["linux"].get("sysctl", {})),
        "Runtime": "estiba",
        "Isolation": options.get("isolation", "container"),
        **_limits(spec["linux"]["resources"], asked),
        "Devices": asked.get("Devices", []),
        "Ulimits": [{"Name": each["type"][7:].lower(), "Hard": each["hard"], "Soft": each["soft"]} for each in spec["process"]["rlimits"]],
        "MaskedPaths": spec["linux"].get("maskedPaths", []),
        "ReadonlyPaths": spec["linux"].get("readonlyPaths", []),
        "Init": spec["annotations"].get(INIT) == "true",
        **({"IsolationReason": container.reason} if container.reason else {}),
        **({"Kernel": f"{container.kernel.get('kind')} {container.kernel.get('release')}"} if container.kernel else {}),
    }


_BLOCK_DEVICES = ("BlkioWeightDevice", "BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps")


def _limits(resources: dict[str, Any], asked: dict[str, object]) -> dict[str, object]:
    memory, cpu = resources.get("memory", {}), resources.get("cpu", {})
    pids = resources.get("pids", {}).get("limit")
    return {
        "CpuShares": cpu.get("shares", 0),
        "Memory": memory.get("limit", 0),
        "NanoCpus": asked.get("NanoCpus", 0),
        "CpuPeriod": asked.get("CpuPeriod", 0),
        "CpuQuota": asked.get("CpuQuota", 0),
        "CpusetCpus": cpu.get("cpus", ""),
        "CpusetMems": cpu.get("mems", ""),
        "MemoryReservation": memory.get("reservation", 0),
        "MemorySwap": memory.get("swap", 0),
        "MemorySwappiness": memory.get("swappiness"),
        "OomKillDisable": memory.get("disableOOMKiller", False),
        "BlkioWeight": resources.get("blockIO", {}).get("weight", 0),
        **{name: asked.get(name, []) for name in _BLOCK_DEVICES},
        "DeviceCgroupRules": asked.get("DeviceCgroupRules"),
        "PidsLimit": None if pids == UNLIMITED else pids,
    }


def _security(spec: dict[str, Any]) -> list[str] | None:
    found = ["no-new-privileges"] if spec["process"].get("noNewPrivileges") else []
    filter_ = spec["annotations"].get(SECCOMP, "default")
    if filter_ != "default":
        found.append(f"seccomp={filter_}")
    return found or None


def _unless_private(mode: object) -> object:
    """Docker's words for a namespace of the container's own are empty."""
    return "" if mode in (None, "private") else mode


def _is_asked_tmpfs(mount: dict[str, Any]) -> bool:
    return bool(mount["type"] == "tmpfs") and mount["destination"] not in ("/dev", "/dev/shm", "/run")  # noqa: S108 - a name in the spec


def _is_own(container: Container, entry: dict[str, object]) -> bool:
    return str(entry.get("source", "")).startswith(f"{container.folder}/")


def _mount(container: Container, entry: dict[str, object]) -> dict[str, object]:
    own = _is_own(container, entry)
    name = {"Name": os.path.basename(str(entry["source"])), "Driver": "local"} if own else {}
    return {
        "Type": "volume" if own else "bind",
        **name,
        "Source": entry.get("source", ""),
        "Destination": entry.get("target", ""),
        "Mode": "ro" if entry.get("read_only") else "",
        "RW": not entry.get("read_only"),
        "Propagation": "" if own else entry.get("propagation", "rprivate"),
    }


def _network(container: Container, asked: dict[str, Any]) -> dict[str, object]:
    empty = {"IPAddress": "", "IPPrefixLen": 0, "Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "MacAddress": ""}
    name = str(container.options.get("network", "none"))
    ports = dict.fromkeys(asked.get("ExposedPorts", {})) if container.pid else {}
    return {"Ports": ports, **empty, "Networks": {name: {"Aliases": None, "NetworkID": "", "EndpointID": "", **empty}}}


def _graph(store: Store, container: Container) -> dict[str, object]:
    lowers = ":".join(f"{store.layers}/{layer.partition(':')[2]}/fs" for layer in reversed(container.layers))
    folder = container.folder
    return {"Name": "overlayfs", "Data": {"LowerDir": lowers, "UpperDir": f"{folder}/upper", "WorkDir": f"{folder}/work"}}


def _sizes(store: Store, container: Container) -> dict[str, object]:
    own = written(container)
    return {"SizeRw": own, "SizeRootFs": own + layers_size(store, container)}


def layers_size(store: Store, container: Container) -> int:
    """The bytes of what is below a container's own files."""
    return sum(layer_info(store, DiffID(diff_id)).size for diff_id in container.layers)


def _time(nanoseconds: int) -> str:
    if not nanoseconds:
        return _NEVER
    moment = datetime.fromtimestamp(nanoseconds // 10**9, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{nanoseconds % 10**9:09d}Z"
