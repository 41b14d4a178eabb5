"""The filter that containers get, run by an interpreter, against its readable source; and profiles in Docker's JSON."""

from __future__ import annotations

import ctypes
import json
import struct

import pytest

from estiba.errors import DataLoss, InvalidArgument
from estiba.runtime import capabilities, seccomp, seccomp_bpf, seccomp_default, seccomp_profile, syscalls
from estiba.runtime.seccomp_bpf import ALLOW, KILL_PROCESS, Action, Check, Condition, errno
from tests.support import bpf
from tools import generate_seccomp

MACHINES = ("x86_64", "aarch64")
EPERM, ENOSYS, EAFNOSUPPORT, EPROTONOSUPPORT = (errno(number) for number in (1, 38, 97, 93))
X32 = 0x40000000
UPPER = 0xFFFFFFFF00000000
DEFAULT = frozenset(capabilities.DEFAULT)
KERNEL = (6, 1)

# Arguments at which some rule changes its mind, and their neighbours; with the upper half of the register empty and full.
EDGES = sorted(
    {0, 1, 2, 3, 9, 10, 11, 16, 17, 31, 38, 40, 0x8, 0x20000, 0x20008, 0x20009, 0xFFFFFFFF, 0x5411, 0x5412, 0x5413, 0x541B, 0x541C}
    | {1 << bit for bit in range(32)}
)
ARGUMENTS = [
    (first | high, second | high, third | high) for high in (0, UPPER) for first in EDGES for second, third in ((first, 0), (0, first))
]
# AF_NETLINK with every protocol, and ioctl's request alone.
ARGUMENTS += [(16 | high, request | high, request | high) for high in (0, UPPER) for request in (*range(40), *EDGES)]


def holds(condition: Condition, arguments: tuple[int, ...]) -> bool:
    """The comparison as linux' seccomp(2) users mean it: unsigned, 64 bits."""
    value = arguments[condition.index]
    return {
        "EQ": value == condition.value,
        "NE": value != condition.value,
        "GT": value > condition.value,
        "GE": value >= condition.value,
        "LT": value < condition.value,
        "LE": value <= condition.value,
        "MASKED_EQ": value & condition.mask == condition.value,
    }[condition.operator]


def naive(action: Action, arguments: tuple[int, ...]) -> int:
    """Reads one entry of the profile from top to bottom."""
    if not isinstance(action, Check):
        return action
    for conditions, chosen in action.rules:
        if all(holds(condition, arguments) for condition in conditions):
            return chosen
    return action.otherwise


def committed(machine: str) -> list[bpf.Instruction]:
    return bpf.decode(seccomp_default.FILTERS[machine])


def answer(machine: str, name: str, *arguments: int, held: frozenset[str] = DEFAULT) -> int:
    code = seccomp_default.FILTERS[machine] if held == DEFAULT else seccomp.profile_filter(machine, held)
    call = bpf.data(syscalls.table(machine)[name], syscalls.AUDIT_ARCH[machine], arguments)
    return bpf.run(bpf.decode(code), call)


def compare(program: list[bpf.Instruction], machine: str, held: frozenset[str]) -> None:
    actions = seccomp_profile.actions(syscalls.table(machine), held)
    arch = syscalls.AUDIT_ARCH[machine]
    for number in range(601):
        action = actions.get(number, ENOSYS)
        cases = ARGUMENTS if isinstance(action, Check) else [(0, 0, 0), (UPPER | 1, UPPER | 2, UPPER | 3)]
        for arguments in cases:
            got, wanted = bpf.run(program, bpf.data(number, arch, arguments)), naive(action, arguments)
            assert got == wanted, f"{machine} {number} {[hex(value) for value in arguments]}: {got:#x}, not {wanted:#x}"


@pytest.mark.parametrize("machine", MACHINES)
def test_committed_filter_says_what_the_profile_says(machine: str) -> None:
    compare(committed(machine), machine, DEFAULT)


@pytest.mark.parametrize("machine", MACHINES)
def test_comparison_can_fail(machine: str) -> None:
    """One bit of one returned action, and the comparison sees it."""
    program = committed(machine)
    at = next(index for index, (code, _, _, k) in enumerate(program) if code == 0x06 and k == EPERM)
    program[at] = (0x06, 0, 0, ALLOW)
    with pytest.raises(AssertionError):
        compare(program, machine, DEFAULT)


@pytest.mark.parametrize("held", [frozenset(), DEFAULT | {"CAP_NET_RAW"}, DEFAULT | {"CAP_SYS_ADMIN"}, frozenset(capabilities.NAMES)])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "i386"])
def test_compiled_filters_of_other_capabilities(machine: str, held: frozenset[str]) -> None:
    compare(bpf.decode(seccomp.profile_filter(machine, held)), machine, held)


@pytest.mark.parametrize("machine", MACHINES)
def test_generator_writes_the_committed_bytes(machine: str) -> None:
    assert seccomp_default.FILTERS[machine] == seccomp.profile_filter(machine, capabilities.DEFAULT)
    namespace: dict[str, dict[str, bytes]] = {}
    exec(compile(generate_seccomp.text(), "seccomp_default", "exec"), namespace)
    assert namespace["FILTERS"] == seccomp_default.FILTERS


@pytest.mark.parametrize(("machine", "golden"), [("x86_64", (291, 5, 80)), ("aarch64", (253, 5, 64))])
def test_golden_counts(machine: str, golden: tuple[int, int, int]) -> None:
    """How many calls the committed filter allows always, by argument, and refuses by name; all others answer ENOSYS."""
    program, arch = committed(machine), syscalls.AUDIT_ARCH[machine]
    always = sometimes = refused = 0
    for name, number in syscalls.table(machine).items():
        answers = {bpf.run(program, bpf.data(number, arch, arguments)) for arguments in ARGUMENTS}
        always += answers == {ALLOW}
        sometimes += len(answers) > 1
        refused += ALLOW not in answers and (answers != {ENOSYS} or name in ("clone3", "socketcall"))
    assert (always, sometimes, refused) == golden


@pytest.mark.parametrize("machine", MACHINES)
def test_names_of_the_profile_are_calls(machine: str) -> None:
    """A misspelt name would be ENOSYS for all time, or a hole in the list of the forbidden."""
    known = {name for table in ("x86_64", "aarch64", "i386") for name in syscalls.table(table)}
    words = [*seccomp_profile.ALLOWED, *seccomp_profile.FORBIDDEN.values(), *seccomp_profile.WITH.values()]
    named = {name for text in words for name in text.split()}
    assert named - known == set()
    assert set(seccomp_profile.WITH) <= set(capabilities.NAMES)
    assert machine in seccomp_default.FILTERS


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    "name",
    "keyctl add_key request_key userfaultfd io_uring_setup io_uring_enter io_uring_register bpf perf_event_open mount umount2 unshare "
    "setns pivot_root open_tree move_mount fsopen fsconfig fsmount mount_setattr vmsplice kexec_load init_module finit_module "
    "open_by_handle_at swapon reboot acct syslog quotactl ".split(),
)
def test_walls_of_the_kernel(machine: str, name: str) -> None:
    assert answer(machine, name) == EPERM


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "capability"),
    [("unshare", "CAP_SYS_ADMIN"), ("bpf", "CAP_BPF"), ("reboot", "CAP_SYS_BOOT"), ("open_by_handle_at", "CAP_DAC_READ_SEARCH")],
)
def test_a_capability_brings_its_calls_back(machine: str, name: str, capability: str) -> None:
    assert answer(machine, name, held=DEFAULT | {capability}) == ALLOW


NAMESPACES = {"NEWNS": 0x20000, "NEWCGROUP": 0x2000000, "NEWUTS": 0x4000000, "NEWIPC": 0x8000000, "NEWUSER": 0x10000000}
NAMESPACES |= {"NEWPID": 0x20000000, "NEWNET": 0x40000000}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("flag", NAMESPACES.values(), ids=NAMESPACES)
def test_clone_makes_no_namespace(machine: str, flag: int) -> None:
    threads, child = 0x3D0F00, 17  # pthread_create(3)'s flags; SIGCHLD
    for others in (0, threads, child, UPPER):
        assert answer(machine, "clone", flag | others) == EPERM
        assert answer(machine, "clone", others) == ALLOW
        assert answer(machine, "clone", flag | others, held=DEFAULT | {"CAP_SYS_ADMIN"}) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_clone3_is_never_there(machine: str) -> None:
    """Its flags are in memory: with ENOSYS the C libraries go back to clone."""
    assert answer(machine, "clone3") == ENOSYS
    assert answer(machine, "clone3", held=frozenset(capabilities.NAMES)) == ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_socket_families(machine: str) -> None:
    """Golden: unspecified, Unix, IPv4, IPv6; packets with CAP_NET_RAW; never AF_ALG (38), AF_VSOCK (40) and the forty others."""
    allowed = [family for family in range(64) if answer(machine, "socket", family, 1, 0) == ALLOW and family != 16]
    assert allowed == [0, 1, 2, 10]
    raw = DEFAULT | {"CAP_NET_RAW"}
    assert [family for family in range(64) if answer(machine, "socket", family, 3, 0, held=raw) == ALLOW] == [0, 1, 2, 10, 16, 17]
    assert {answer(machine, "socket", family, 3, 0) for family in (17, 38, 40)} == {EAFNOSUPPORT}
    assert [family for family in range(64) if answer(machine, "socketpair", family, 1, 0) == ALLOW] == [1]
    # An int: the kernel does not see the upper half, so it must not make a family another one.
    assert answer(machine, "socket", UPPER | 38, 3, 0) == EAFNOSUPPORT
    assert answer(machine, "socket", UPPER | 2, 1, 0) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_netlink_protocols(machine: str) -> None:
    answers = {protocol: answer(machine, "socket", 16, 3, protocol) for protocol in range(64)}
    assert [protocol for protocol, action in answers.items() if action == ALLOW] == [0, 4, 15, 16]
    assert set(answers.values()) == {ALLOW, EPROTONOSUPPORT}
    assert answer(machine, "socket", 16, 3, UPPER | 12) == EPROTONOSUPPORT


@pytest.mark.parametrize("machine", MACHINES)
def test_personality(machine: str) -> None:
    candidates = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF, 0x40000, 0x0400000, 0x100000, 0x20009, 6)
    assert [value for value in candidates if answer(machine, "personality", value) == ALLOW] == [0, 8, 0x20000, 0x20008, 0xFFFFFFFF]


@pytest.mark.parametrize("machine", MACHINES)
def test_terminal_requests(machine: str) -> None:
    for high in (0, UPPER, 1 << 32):  # CVE-2019-10063: the kernel reads an unsigned int
        assert answer(machine, "ioctl", 0, high | 0x5412) == EPERM
        assert answer(machine, "ioctl", 0, high | 0x541C) == EPERM
    assert answer(machine, "ioctl", 0, 0x5401) == ALLOW
    assert answer(machine, "ioctl", 0x5412, 0x5413) == ALLOW


def test_x32_and_i386() -> None:
    program, native, foreign = committed("x86_64"), syscalls.AUDIT_ARCH["x86_64"], syscalls.AUDIT_ARCH["i386"]
    for number in range(601):
        assert bpf.run(program, bpf.data(X32 | number, native)) == ENOSYS
        assert bpf.run(program, bpf.data(number, foreign)) == ENOSYS
        assert bpf.run(program, bpf.data(number, syscalls.AUDIT_ARCH["aarch64"])) == ENOSYS
    assert bpf.run(program, bpf.data(0, native)) == ALLOW
    assert bpf.run(program, bpf.data(0x7FFFFFFF, native)) == ENOSYS
    assert bpf.run(program, bpf.data(0xFFFFFFFF, native)) == ENOSYS


def test_i386_on_demand() -> None:
    program = bpf.decode(seccomp.profile_filter("x86_64", DEFAULT, with_i386=True))
    compare(program, "x86_64", DEFAULT)
    compare(program, "i386", DEFAULT)
    assert bpf.run(program, bpf.data(syscalls.table("i386")["socketcall"], syscalls.AUDIT_ARCH["i386"])) == ENOSYS
    assert bpf.run(program, bpf.data(0, syscalls.AUDIT_ARCH["aarch64"])) == ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_unknown_numbers(machine: str) -> None:
    known = set(syscalls.table(machine).values())
    unknown = [number for number in range(601) if number not in known]
    assert unknown
    assert {bpf.run(committed(machine), bpf.data(number, syscalls.AUDIT_ARCH[machine])) for number in unknown} == {ENOSYS}


# --- the compiler alone -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", ["EQ", "NE", "GT", "GE", "LT", "LE"])
def test_operators(operator: str) -> None:
    values = [base + step for base in (1, 1 << 31, 1 << 32, 5 << 32, (1 << 64) - 3) for step in (-1, 0, 1)]
    for limit in values:
        action = Check([([Condition(2, operator, limit)], ALLOW)], EPERM)
        program = seccomp_bpf.program([(7, {3: action})], ENOSYS, KILL_PROCESS)
        for value in values:
            arguments = (0, 0, value)
            assert bpf.run(program, bpf.data(3, 7, arguments)) == naive(action, arguments), (operator, limit, value)
        assert bpf.run(program, bpf.data(4, 7)) == ENOSYS
        assert bpf.run(program, bpf.data(3, 8)) == KILL_PROCESS
        assert bpf.run(program, bpf.data(X32 | 3, 7)) == KILL_PROCESS


def test_jumps_that_are_too_far_for_eight_bits() -> None:
    actions: dict[int, Action] = {
        number: Check([([Condition(0, "EQ", number * 7 + step)], errno(step + 1)) for step in range(5)], errno(number + 10))
        for number in range(0, 120, 2)
    }
    program = seccomp_bpf.program([(7, actions)], ENOSYS, KILL_PROCESS)
    assert len(program) > 1000
    for number in range(130):
        for value in range(number * 7 - 1, number * 7 + 7):
            arguments = (value % (1 << 64),)
            assert bpf.run(program, bpf.data(number, 7, arguments)) == naive(actions.get(number, ENOSYS), arguments)
    assert bpf.run(program, bpf.data(0, 8)) == KILL_PROCESS


# --- Docker's JSON ----------------------------------------------------------------------------------------------------------


def docker(profile: dict[str, object], held: frozenset[str] = DEFAULT, machine: str = "x86_64") -> list[bpf.Instruction]:
    return bpf.decode(seccomp.docker_filter(json.dumps(profile).encode(), machine, held, KERNEL, "p.json"))


def of(program: list[bpf.Instruction], name: str, *arguments: int, machine: str = "x86_64") -> int:
    return bpf.run(program, bpf.data(syscalls.table(machine)[name], syscalls.AUDIT_ARCH[machine], arguments))


def test_docker_profile() -> None:
    program = docker(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
            "syscalls": [
                {"names": ["read", "write", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]},
                {
                    "names": ["clone"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
                    "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390"]},
                },
                {"names": ["clone", "mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
                {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
                {"names": ["kcmp"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.2"}},
                {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
                {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
                {"names": ["reboot"], "action": "SCMP_ACT_KILL_PROCESS"},
            ],
        }
    )
    assert of(program, "read") == ALLOW
    assert [of(program, "socket", family) for family in (2, 40, UPPER | 40)] == [ALLOW, ENOSYS, ALLOW]
    assert [of(program, "clone", flags) for flags in (17, 0x10000011)] == [ALLOW, ENOSYS]
    assert [of(program, name) for name in ("mount", "ptrace", "kcmp", "chroot", "bpf", "reboot", "open")] == [
        ENOSYS,
        ALLOW,
        ENOSYS,
        ENOSYS,
        EPERM,
        KILL_PROCESS,
        ENOSYS,
    ]
    assert of(program, "read", machine="i386") == ALLOW
    assert bpf.run(program, bpf.data(X32, syscalls.AUDIT_ARCH["x86_64"])) == ENOSYS


def test_docker_profile_by_capability() -> None:
    rules = [
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["syslog"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
    ]
    profile: dict[str, object] = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}
    without, with_it = docker(profile), docker(profile, DEFAULT | {"CAP_SYS_ADMIN"})
    assert [of(without, "mount"), of(without, "syslog")] == [EPERM, ALLOW]
    assert [of(with_it, "mount"), of(with_it, "syslog")] == [ALLOW, EPERM]


def test_docker_profile_that_denies_by_name_leaves_no_way_around() -> None:
    """The default allows: what the profile cannot name (x32, a foreign architecture) must not be allowed with it."""
    program = docker({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO"}]})
    mount = syscalls.table("x86_64")["mount"]
    assert of(program, "mount") == EPERM
    assert of(program, "umount2") == ALLOW
    assert bpf.run(program, bpf.data(X32 | mount, syscalls.AUDIT_ARCH["x86_64"])) == ENOSYS
    assert of(program, "mount", machine="i386") == ENOSYS


def test_docker_unconditional_rule_wins() -> None:
    """libseccomp's reading: a rule without conditions covers the ones with."""
    rules = [
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW"},
    ]
    program = docker({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules})
    assert of(program, "socket", 40) == ALLOW


@pytest.mark.parametrize(
    "profile",
    [
        {"syscalls": []},
        {"defaultAction": "SCMP_ACT_NOTIFY_ME"},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "allow"}]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}},
        {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000},
        {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": -1},
        *(
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [argument]}]}
            for argument in (
                {"index": 0, "value": 1, "op": "=="},
                {"index": 6, "value": 1, "op": "SCMP_CMP_EQ"},
                {"index": -1, "value": 1, "op": "SCMP_CMP_EQ"},
                {"index": 0, "value": 1 << 64, "op": "SCMP_CMP_EQ"},
                {"index": 0, "value": True, "op": "SCMP_CMP_EQ"},
            )
        ),
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "includes": {"minKernel": "6"}}],
        },
    ],
)
def test_docker_profile_that_is_wrong_is_refused(profile: dict[str, object]) -> None:
    with pytest.raises((DataLoss, InvalidArgument)):
        docker(profile)


def test_docker_profile_that_is_no_json() -> None:
    with pytest.raises(DataLoss):
        seccomp.docker_filter(b"{", "x86_64", DEFAULT, KERNEL, "p.json")


def test_the_kernel_takes_the_committed_filter() -> None:
    """The verifier of seccomp(2) itself, in a child that then has nothing to do but to answer."""
    import os
    import platform

    code = seccomp_default.FILTERS[platform.machine()]
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("@HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    child = os.fork()
    if child == 0:
        taken = libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0  # NO_NEW_PRIVS, SECCOMP_MODE_FILTER
        refused = libc.unshare(0x10000000) == -1 and ctypes.get_errno() == 1
        os._exit(0 if taken and refused else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
