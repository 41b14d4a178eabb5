"""Writes src/estiba/runtime/seccomp_default.py: the profile compiled for each machine and the default capabilities.

Run it after a change of seccomp_profile.py, seccomp_bpf.py or the default capabilities; a test holds the file to what it writes.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from estiba.runtime import capabilities, seccomp, seccomp_bpf, seccomp_profile, syscalls

TARGET = Path(__file__).parent.parent / "src/estiba/runtime/seccomp_default.py"
MACHINES = ("x86_64", "aarch64")

_HEAD = '''"""The default system-call filters, made by tools/generate_seccomp.py from seccomp_profile.py. Edit that file, not this one.

Each is an array of struct sock_filter (linux/filter.h) for the default capabilities. On the start path of ``run``: the compiler
and the tables are not loaded.
"""

from __future__ import annotations

'''


def text() -> str:
    """Returns the module's text."""
    parts = [_HEAD, "# Calls that the profile allows always / by argument / refuses; the rest answers ENOSYS.\n"]
    for machine in MACHINES:
        actions = seccomp_profile.actions(syscalls.table(machine), frozenset(capabilities.DEFAULT))
        always = sum(action == seccomp_bpf.ALLOW for action in actions.values())
        some = sum(isinstance(action, seccomp_bpf.Check) for action in actions.values())
        parts.append(f"# {machine}: {always} / {some} / {len(actions) - always - some}\n")
    parts.append("FILTERS = {\n")
    for machine in MACHINES:
        code = seccomp.profile_filter(machine, capabilities.DEFAULT)
        lines = textwrap.wrap(code.hex(), 112)
        parts.append(f"    # {len(code) // 8} instructions\n    {machine!r}: bytes.fromhex(\n".replace("'", '"'))
        parts += [f'        "{line}"\n' for line in lines]
        parts.append("    ),\n")
    return "".join([*parts, "}\n"])


def main() -> None:
    """Writes the module."""
    TARGET.write_text(text(), encoding="ascii")
    sys.stdout.write(f"{TARGET.name} written\n")


if __name__ == "__main__":
    main()
