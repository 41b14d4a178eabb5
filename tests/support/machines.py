"""Guests whose program is what no container is: root of the guest's kernel, in the guest's own namespaces."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from estiba.config.settings import load
from estiba.engine import reclaim
from estiba.engine.create import create
from estiba.engine.launching import prepare
from estiba.engine.resolve import resolve
from estiba.plan.ops import NAMES, VERSION
from estiba.runtime.options import MountRequest, RunOptions
from estiba.store.layout import Store
from tests.support.containers import IMAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from estiba.plan.ops import Op


MACHINE = next(code for code, name in NAMES.items() if name == "machine")


class GuestRoot(Protocol):
    def __call__(
        self, script: str, *, without: str = "", binds: Sequence[tuple[str, str]] = (), kernel: Path | None = None
    ) -> subprocess.CompletedProcess[str]: ...


def without_argument(plan: list[Op], start: str) -> list[Op]:
    """The plan, its machine monitor told one thing less."""

    def changed(op: Op) -> Op:
        words = op[1] if op[0] == MACHINE else None
        if not isinstance(words, list):
            return op
        kept = [str(word) for word in words if not str(word).startswith(start)]
        assert len(kept) < len(words)
        return (op[0], kept, *op[2:])

    return [changed(op) for op in plan]


@pytest.fixture
def guest_root(alpine_store: Path, environment: dict[str, str], uml: Path) -> GuestRoot:
    """Runs a shell script of Alpine as root of a guest, without a user namespace, with every capability and no filter."""

    def run(script: str, *, without: str = "", binds: Sequence[tuple[str, str]] = (), kernel: Path | None = None) -> subprocess.CompletedProcess[str]:
        settings = load(root=str(alpine_store), environ=environment)
        store = Store.open(settings)
        options = RunOptions(IMAGE, ["sh", "-c", script])
        options.rm = options.privileged = True
        options.isolation, options.kernel = "para", str(kernel or uml)
        options.mounts = [MountRequest("bind", target, source) for source, target in binds]
        with store.using():
            created = create(store, settings, options, resolve(store, settings, options))
        linux = created.spec["linux"]
        linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "user"]
        created.spec["annotations"]["org.estiba.nested-user-namespaces"] = "true"
        created.plan = created.binder.plan()
        if without:
            created.plan = without_argument(created.plan, without)
        out, err = (os.memfd_create(name, os.MFD_CLOEXEC) for name in ("out", "err"))
        with open(os.devnull, "rb") as null, os.fdopen(out, "rb") as said, os.fdopen(err, "rb") as trouble:
            code = prepare(store, settings, options, created).spawn(null.fileno(), out, err).wait()
            reclaim.finish(settings, created.record)
            texts = []
            for file in (said, trouble):
                file.seek(0)
                texts.append(file.read().decode(errors="surrogateescape"))
        return subprocess.CompletedProcess(script, code, *texts)

    return run


# A program that a user could take for User-Mode Linux, and that speaks the guest's side of the channel (helper/src/link.h).
IMPOSTOR = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
enum { STARTED = 1, OUTPUT = 2, EXITED = 4, ACCEPTED = 5, INPUT = 16, INPUT_END = 17, READY = 64, PLAN = 66, SYNCED = 67 };
struct frame { uint32_t size, session; uint8_t type, stream; uint16_t zero; uint32_t number; uint64_t offset; };
static const char marks[] __attribute__((used)) = "uml_dir= Linux version 1.2.3 (x)";
static void say(int type, unsigned session, int stream, unsigned number, uint64_t offset, const void *data, unsigned size)
{
    struct frame frame = {size, session, type, stream, 0, number, offset};
    if (write(3, &frame, sizeof frame) != sizeof frame || write(3, data, size) != size)
        exit(1);
}
static void take(void *data, size_t size)
{
    for (size_t n, done = 0; done < size; done += n)
        if ((ssize_t)(n = read(3, (char *)data + done, size - done)) <= 0)
            exit(1);
}
static char heard[32768];
static struct frame hear(void)
{
    struct frame frame;
    take(&frame, sizeof frame);
    take(heard, frame.size);
    return frame;
}
int main(void)
{
    puts("[    0.000000] booting");
    fflush(stdout);
    %s
    return 0;
}
"""


def impostor(folder: Path, body: str) -> Path:
    """A program that is taken for a kernel, and does `body`."""
    source, program = folder / "impostor.c", folder / "impostor"
    source.write_text(IMPOSTOR % body.replace("VERSION", str(VERSION)))
    subprocess.run(["gcc", "-static", "-o", str(program), str(source)], check=True)
    return program
