"""Writes src/estiba/runtime/seccomp_default.py, the profile compiled for each machine and the default capabilities, and
seccomp_monitor.py, that of a machine's monitor.

Run it after a change of seccomp_profile.py, seccomp_bpf.py or the default capabilities; a test holds the file to what it writes.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from estiba.runtime import capabilities, seccomp, seccomp_bpf, seccomp_profile, syscalls

TARGET = Path(__file__).parent.parent / "src/estiba/runtime/seccomp_default.py"
MONITOR_TARGET = TARGET.with_name("seccomp_monitor.py")
MACHINES = ("x86_64", "aarch64")

_HEAD = '''"""The default system-call filters, made by tools/generate_seccomp.py from seccomp_profile.py. Edit that file, not this one.

Each is an array of struct sock_filter (linux/filter.h) for the default capabilities. On the start path of ``run``: the compiler
and the tables are not loaded.
"""

from __future__ import annotations

'''


_MONITOR_HEAD = '''"""The system-call filters of machines' monitors, made by tools/generate_seccomp.py from seccomp_profile.py.

Edit that file, not this one. Each is an array of struct sock_filter (linux/filter.h). On the start path of `run --isolation para`.
"""

from __future__ import annotations

'''


def text() -> str:
    """Returns the text of the module for containers."""
    parts = [_HEAD, "# Calls that the profile allows always / by argument / refuses; the rest answers ENOSYS.\n"]
    for machine in MACHINES:
        actions = seccomp_profile.actions(syscalls.table(machine), frozenset(capabilities.DEFAULT))
        always = sum(action == seccomp_bpf.ALLOW for action in actions.values())
        some = sum(isinstance(action, seccomp_bpf.Check) for action in actions.values())
        parts.append(f"# {machine}: {always} / {some} / {len(actions) - always - some}\n")
    return "".join(parts) + table({machine: seccomp.profile_filter(machine, capabilities.DEFAULT) for machine in MACHINES})


def monitor_text() -> str:
    """Returns the text of the module for machines' monitors."""
    return _MONITOR_HEAD + table({machine: seccomp.monitor_filter(machine) for machine in MACHINES})


def table(filters: dict[str, bytes]) -> str:
    """Returns filters as a dictionary in Python."""
    parts = ["FILTERS = {\n"]
    for machine, code in filters.items():
        lines = textwrap.wrap(code.hex(), 112)
        parts.append(f'    # {len(code) // 8} instructions\n    "{machine}": bytes.fromhex(\n')
        parts += [f'        "{line}"\n' for line in lines]
        parts.append("    ),\n")
    return "".join([*parts, "}\n"])


def main() -> None:
    """Writes both modules."""
    TARGET.write_text(text(), encoding="ascii")
    MONITOR_TARGET.write_text(monitor_text(), encoding="ascii")
    sys.stdout.write(f"{TARGET.name} and {MONITOR_TARGET.name} written\n")


if __name__ == "__main__":
    main()
