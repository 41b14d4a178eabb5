"""`inspect` of a container, in the shape of Docker's (Engine API, ContainerInspect), as far as estiba has what it names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from estiba.config.settings import Settings
from estiba.engine import containers, records
from estiba.engine.containers import Container
from estiba.engine.df import written
from estiba.runtime.spec import USER
from estiba.store.layout import Store

_NEVER = "0001-01-01T00:00:00Z"  # Docker's, Go's zero time


def inspect_container(store: Store, settings: Settings, name: str, *, size: bool = False) -> dict[str, object]:
    """Docker's JSON object of a container; `size` adds the bytes that it wrote. Raises NotFound, Conflict (an ambiguous id), DataLoss."""
    container = containers.find(store, name)
    spec = container.spec()
    process = spec["process"]
    record = records.read(settings, container.id) if container.status == "running" else None
    return {
        "Id": container.id,
        "Created": _time(container.created),
        "Path": container.command[0] if container.command else "",
        "Args": container.command[1:],
        "State": _state(container),
        "Image": container.image,
        "ResolvConfPath": f"{container.folder}/resolv.conf",
        "HostnamePath": f"{container.folder}/hostname",
        "HostsPath": f"{container.folder}/hosts",
        "LogPath": "" if container.log.get("driver") == "none" else f"{container.folder}/log",
        "Name": f"/{container.name}",
        "RestartCount": 0,
        "Driver": "overlayfs",
        "Platform": "linux",
        "ExecIDs": None,
        **({"SizeRw": written(container)} if size else {}),
        "GraphDriver": {"Name": "overlayfs", "Data": {"UpperDir": f"{container.folder}/upper", "WorkDir": f"{container.folder}/work"}},
        "HostConfig": _host_config(container, spec),
        "Mounts": [_mount(entry) for entry in container.volumes],
        "Config": {
            "Hostname": spec.get("hostname", ""),
            "Domainname": spec.get("domainname", ""),
            "User": spec["annotations"].get(USER, ""),
            "Tty": process["terminal"],
            "OpenStdin": container.interactive,
            "Env": process["env"],
            "Cmd": container.command,
            "Image": container.reference,
            "WorkingDir": process["cwd"],
            "Labels": container.labels,
            **({} if container.stop_timeout is None else {"StopTimeout": container.stop_timeout}),
        },
        "NetworkSettings": {"Ports": {}, "Networks": {str(container.options.get("network", "none")): {}}},
        "Cgroups": record.cgroups if record else [],
    }


def _state(container: Container) -> dict[str, object]:
    return {
        "Status": container.status,
        "Running": container.status == "running",
        "Paused": container.status == "paused",
        "Restarting": False,
        "OOMKilled": container.oom,
        "Dead": False,
        "Pid": container.pid,
        "ExitCode": container.exit_code if container.status == "exited" else 0,
        "Error": "",
        "StartedAt": _time(container.started),
        "FinishedAt": _time(container.finished),
    }


def _host_config(container: Container, spec: dict[str, Any]) -> dict[str, object]:
    resources = spec["linux"]["resources"]
    memory, cpu = resources.get("memory", {}), resources.get("cpu", {})
    options = container.options
    return {
        "NetworkMode": options.get("network", "none"),
        "AutoRemove": container.remove,
        "Privileged": options.get("privileged", False),
        "ReadonlyRootfs": spec["root"]["readonly"],
        "LogConfig": {
            "Type": container.log.get("driver", "cri"),
            "Config": {"max-size": str(container.log.get("max_size", "")), "max-file": str(container.log.get("max_file", ""))},
        },
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "Memory": memory.get("limit", 0),
        "MemorySwap": memory.get("swap", 0),
        "MemoryReservation": memory.get("reservation", 0),
        "NanoCpus": cpu["quota"] * 10**9 // cpu.get("period", 100000) if cpu.get("quota", 0) > 0 else 0,
        "CpuShares": cpu.get("shares", 0),
        "CpuPeriod": cpu.get("period", 0),
        "CpuQuota": cpu.get("quota", 0),
        "CpusetCpus": cpu.get("cpus", ""),
        "CpusetMems": cpu.get("mems", ""),
        "PidsLimit": resources.get("pids", {}).get("limit"),
        "PidMode": options.get("pid", "private"),
        "IpcMode": options.get("ipc", "private"),
        "UTSMode": options.get("uts", "private"),
        "CgroupnsMode": options.get("cgroupns", "private"),
        "UsernsMode": options.get("userns", "private"),
        "MaskedPaths": spec["linux"].get("maskedPaths", []),
        "ReadonlyPaths": spec["linux"].get("readonlyPaths", []),
        "Isolation": options.get("isolation", "container"),
        **({"Kernel": f"{container.kernel.get('kind')} {container.kernel.get('release')}"} if container.kernel else {}),
    }


def _mount(entry: dict[str, object]) -> dict[str, object]:
    return {
        "Type": "bind",
        "Source": entry.get("source", ""),
        "Destination": entry.get("target", ""),
        "Mode": "ro" if entry.get("read_only") else "",
        "RW": not entry.get("read_only"),
    }


def _time(nanoseconds: int) -> str:
    if not nanoseconds:
        return _NEVER
    moment = datetime.fromtimestamp(nanoseconds // 10**9, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{nanoseconds % 10**9:09d}Z"
