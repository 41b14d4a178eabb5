"""Where things are: in the jail of a machine monitor, and in a guest's own tree before any container. On the start path."""

from __future__ import annotations

#: The descriptor that is the monitor's end of the channel (helper/src/machine.c).
CHANNEL = 3

#: The descriptor that is QEMU's control socket, or the file of a parked guest.
EXTRA = 5

# In the jail.
STATE = "/run"
INIT = "/run/init"
INITRAMFS = "/run/initramfs"
DISKS = "/run/disks"
BLOCKS = "/run/channel"  # helper/src/link.h
BINDS = "/run/binds"
BOOT = "/run/boot"
KVM = "/dev/kvm"
MEMORY = "/tmp"  # noqa: S108 - a mount point in the jail

# In the guest.
GUEST_LAYERS = "/layers"
GUEST_TOP = "/top"
GUEST_FILES = "/files"
GUEST_BINDS = "/binds"
GUEST_GROUP = "container"
GUEST_GROUP_PATH = f"/sys/fs/cgroup/{GUEST_GROUP}"
