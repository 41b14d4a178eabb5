"""What a container can do to who enters it by `exec`; each attack with a twin that shows it would be seen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.containers import IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.live import Live

STRONG = ("--cap-add", "SYS_PTRACE", "--security-opt", "seccomp=unconfined")

# PID 1 stops whatever comes into its namespace, and looks at those whose name begins with $1.
TRAP = r"""
look() {
    for part in exe cwd root fd/3; do readlink $1/$part && echo "read $part"; done
    for part in environ maps; do cat $1/$part && echo "read $part"; done
    ( : > $1/exe ) && echo "wrote exe"
    ls $1/fd/ && echo "listed"
}
while :; do
    kill -STOP -1
    for p in /proc/[0-9]*; do
        [ $p = /proc/1 ] && continue
        read name < $p/comm || continue
        case $name in $1*) found=$(look $p) ;; *) continue ;; esac
        read again < $p/comm || continue  # it stops behind an execve(2) that was on its way
        [ "$again" = "$name" ] && printf "caught $name\n%s\nend\n" "$found" >> /seen
    done 2> /dev/null
    kill -CONT -1
done
"""


def seen_by_trap(live: Live, name: str, enter: Callable[[], object]) -> str:
    """What the container saw of a process of this name that enters it."""
    live("run", "-d", "--name", "trap", *STRONG, IMAGE, "sh", "-c", TRAP, "sh", name)
    deadline = time.monotonic() + 60
    while True:
        enter()
        seen = live("exec", "trap", "sh", "-c", "cat /seen 2>/dev/null || true")
        if "end\n" in seen:
            break
        assert time.monotonic() < deadline, "nothing was caught"
    live("rm", "-f", "trap")
    return seen


def test_who_enters_is_closed_to_the_container(live: Live) -> None:
    """Neither its program (CVE-2019-5736) nor its descriptors (CVE-2024-21626) nor its memory."""
    seen = seen_by_trap(live, "estiba", lambda: live("exec", "trap", "true"))
    assert "caught estiba" in seen
    assert "read" not in seen
    assert "wrote" not in seen
    assert "listed" not in seen.partition("end\n")[0]


def test_a_program_of_the_container_is_open_to_it(live: Live) -> None:
    seen = seen_by_trap(live, "sleep", lambda: live("exec", "trap", "sleep", "0.1"))
    for what in ("read exe", "read cwd", "read root", "read environ", "listed"):
        assert what in seen


@pytest.mark.parametrize("folder", ["/proc/self/fd/%d", "/link/%d"])
def test_no_folder_of_the_host_is_a_working_directory(live: Live, folder: str) -> None:
    live.start("mkdir /link; for n in $(seq 3 40); do ln -s /proc/self/fd/$n /link/$n; ln -s /proc/thread-self/cwd /link/x$n; done")
    for number in range(3, 12):
        text = live.fails("exec", "-w", folder % number, "box", "sh", "-c", "pwd; ls")
        assert "working_directory" in text
    assert live("exec", "-w", "/link", "box", "pwd") == "/link\n"  # the twin: a folder of the container is one


def test_the_program_has_its_streams_alone(live: Live) -> None:
    live.start()
    assert live("exec", "box", "sh", "-c", "ls /proc/$$/fd; true").split() == ["0", "1", "2"]
    assert live("exec", "box", "sh", "-c", "exec 7</etc/passwd; ls /proc/$$/fd; true").split() == ["0", "1", "2", "7"]


def test_devices_that_the_container_replaced_are_not_trusted(live: Live) -> None:
    live.start("rm /dev/null; mkfifo /dev/null; mkdir /tmp/pts", "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")
    assert live("exec", "box", "cat", stdin=b"not asked for") == ""
    assert "/dev/pts/" in live("exec", "-t", "box", "tty")
    live("exec", "box", "sh", "-c", "mount -t tmpfs none /dev/pts; mkfifo /dev/pts/ptmx")
    assert "a pseudo-terminal in /dev/pts" in live.fails("exec", "-t", "box", "tty")


def test_a_script_that_names_its_own_reader_runs_nothing_of_the_host(live: Live) -> None:
    """`#!/proc/self/exe` would make the helper the interpreter: a file of the host's root that the container may not execute."""
    live.start("printf '#!/proc/self/exe\\n' > /evil; chmod 755 /evil; printf '#!/bin/cat\\n' > /good; chmod 755 /good")
    assert "Permission denied" in live.fails("exec", "box", "/evil")
    assert live("exec", "box", "/good") == "#!/bin/cat\n"


def test_links_of_the_container_name_no_user_of_the_host(live: Live) -> None:
    """/etc/passwd is read in the container's root, wherever its links lead."""
    live.start("echo 'me:x:77:88::/:' > /users; ln -sf /../../users /etc/passwd; ln -sf /proc/1/root/../../etc/group /etc/group")
    assert live("exec", "-u", "me", "box", "id", "-u") == "77\n"
    assert "no such group" in live.fails("exec", "-u", "me:root", "box", "true")
