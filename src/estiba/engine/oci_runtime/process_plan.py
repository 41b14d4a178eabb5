"""`process` of config.json -> the helper's operations (runtime-spec, config.md#process)."""

from __future__ import annotations

import os

from estiba.errors import InvalidArgument
from estiba.plan import ops
from estiba.runtime import capabilities
from estiba.runtime.parse_options import RLIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiba.engine.oci_runtime.config import Section
    from estiba.plan.ops import Op

_MASK64 = (1 << 64) - 1
_SETS = ("effective", "permitted", "inheritable", "ambient")
_ID_MAX = 0xFFFFFFFE


def before_user(process: Section) -> list[Op]:
    """Limits and the working directory, which may have to be made."""
    plan: list[Op] = []
    for limit in process.sections("rlimits"):
        kind = limit.text("type")
        number = RLIMITS.get(kind.removeprefix("RLIMIT_").lower()) if kind.startswith("RLIMIT_") else None
        if number is None:
            raise InvalidArgument(f"cannot set limit {kind}: it is unknown")
        plan.append(ops.rlimit(number, limit.number("soft"), limit.number("hard")))
    adjustment = process.given("oomScoreAdj", minimum=-1000, maximum=1000)
    if adjustment is not None:
        plan.append(ops.oom_score_adj(adjustment & _MASK64))
    return [*plan, ops.working_directory(process.text("cwd"))]


def as_user(process: Section, linux: Section) -> list[Op]:
    """User, capabilities, filter and the program itself."""
    late = process.flag("noNewPrivileges")
    seccomp = system_call_filter(linux, process)
    user = process.section("user")
    groups = [str(number) for number in user.numbers("additionalGids", maximum=_ID_MAX)]
    identity = f"{user.number('uid', 0, maximum=_ID_MAX)}:{user.number('gid', 0, maximum=_ID_MAX)}"
    plan = [] if late else seccomp
    if process.has("capabilities"):
        sets = process.section("capabilities")
        plan = [*plan, ops.bounding(_mask(sets.texts("bounding")))]
        effective, permitted, inheritable, ambient = (_mask(sets.texts(name)) for name in _SETS)
        # The kernel has none in the ambient set that the two others lack (capabilities(7)); bundles of many tools name some.
        held = [effective, permitted, inheritable, ambient & permitted & inheritable]
    else:
        plan = [*plan, ops.bounding(0)]
        held = [0, 0, 0, 0]
    plan += [ops.user(identity, groups, user.number("umask", 0o022, maximum=0o777), 1), ops.capabilities(*held)]
    if late:
        plan += [ops.no_new_privileges(), *seccomp]
    return [*plan, ops.execute(process.texts("args"), process.texts("env"))]


def _mask(names: Sequence[str]) -> int:
    """Bits of the names that this kernel has; of others runtimes say no more than a warning, as a newer bundle may name them."""
    return capabilities.mask(name for name in names if name in capabilities.NAMES)


def system_call_filter(linux: Section, process: Section) -> list[Op]:
    """The operation that loads the filter of ``linux.seccomp``, if there is one."""
    profile = linux.section("seccomp")
    if not profile.value:
        return []
    from estiba.oci.strict_json import dumps
    from estiba.runtime.seccomp import docker_filter

    if profile.has("listenerPath"):
        raise InvalidArgument("cannot use config.json: seccomp.listenerPath is not offered")
    flags = 0
    for word in profile.texts("flags"):
        if word not in FILTER_FLAGS:
            raise InvalidArgument(f"cannot use config.json: seccomp flag {word} is not offered")
        flags |= FILTER_FLAGS[word]
    held = process.section("capabilities").texts("bounding")
    # The caller has chosen the rules for the kernel already.
    code = docker_filter(dumps(profile.value), os.uname().machine, held, (99, 0), "config.json")
    return [ops.seccomp(code, flags)]


# seccomp(2); the synchronisation of threads means nothing to a process of one thread.
FILTER_FLAGS = {"SECCOMP_FILTER_FLAG_TSYNC": 0, "SECCOMP_FILTER_FLAG_LOG": 2, "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4}


def program_name(process: Section) -> str:
    """What messages call the program."""
    arguments = process.texts("args")
    return arguments[0] if arguments else "the container"
