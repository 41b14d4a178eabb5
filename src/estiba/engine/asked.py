"""What `inspect` shows of a container's options, and the OCI spec has no member for: in Docker's words, in state.json's `asked`.

What has its default is left out. On the start path.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from estiba.oci.image_config import ImageConfig
    from estiba.runtime.options import RunOptions


def asked(options: RunOptions, config: ImageConfig) -> dict[str, dict[str, object]]:
    """Returns members of Docker's `Config` and `HostConfig` (Engine API, ContainerInspect)."""
    entrypoint = config.entrypoint if options.entrypoint is None else [options.entrypoint] if options.entrypoint else []
    command = list(options.command) or (config.cmd if options.entrypoint is None else [])
    exposed = [*config.exposed_ports, *(port if "/" in port else f"{port}/tcp" for port in options.expose)]
    return {
        "Config": _given(
            Attach=[] if options.detach else options.attach or [*(["stdin"] if options.interactive else []), "stdout", "stderr"],
            Entrypoint=entrypoint,
            Cmd=command,
            ExposedPorts={port: {} for port in exposed},
            StopSignal=config.stop_signal if options.stop_signal is None else str(options.stop_signal),
        ),
        "HostConfig": _given(
            ContainerIDFile=options.cidfile,
            CapAdd=options.cap_add,
            CapDrop=options.cap_drop,
            Dns=options.dns,
            DnsOptions=options.dns_options,
            DnsSearch=options.dns_search,
            ExtraHosts=[f"{host}:{address}" for host, address in options.add_hosts],
            GroupAdd=options.group_add,
            VolumesFrom=[name + (":ro" if read_only else "") for name, read_only in options.volumes_from],
            Devices=[
                {"PathOnHost": device.source, "PathInContainer": device.target, "CgroupPermissions": device.permissions}
                for device in options.devices
            ],
            ShmSize=options.shm_size,
            CpuPeriod=options.cpu_period,
            CpuQuota=options.cpu_quota,
            NanoCpus=options.nano_cpus,
            BlkioWeightDevice=[{"Path": path, "Weight": weight} for path, weight in options.blkio_weight_devices],
            DeviceCgroupRules=[_rule(rule) for rule in options.device_rules],
            **{
                member: [{"Path": path, "Rate": rate} for flag, path, rate in options.io_limits if flag == wanted]
                for wanted, member in _THROTTLED.items()
            },
        ),
    }


_THROTTLED = {
    "device-read-bps": "BlkioDeviceReadBps",
    "device-write-bps": "BlkioDeviceWriteBps",
    "device-read-iops": "BlkioDeviceReadIOps",
    "device-write-iops": "BlkioDeviceWriteIOps",
}


def _rule(rule: Mapping[str, object]) -> str:
    return f"{rule['type']} {rule.get('major', '*')}:{rule.get('minor', '*')} {rule['access']}"


def _given(**members: object) -> dict[str, object]:
    return {name: value for name, value in members.items() if value not in (None, "", [], {})}
