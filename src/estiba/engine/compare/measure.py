"""Runs the rungs in turn and takes their figures."""

from __future__ import annotations

import os
import random
import select
import signal
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from estiba.config.settings import Settings
from estiba.engine.compare.metrics import WORKLOAD
from estiba.engine.compare.report import Figure, Report, RungReport
from estiba.engine.compare.rungs import NAMES, Rung, bytes_of, failure, files_of, forget, rungs, shared_bytes
from estiba.engine.compare.workload import PATH_INSIDE, image_with_workload
from estiba.engine.progress import Progress, Silent
from estiba.engine.units import format_time
from estiba.errors import EstibaError, InvalidArgument, Unavailable
from estiba.store.layout import Store

#: Nothing that is measured may take longer; an emulated machine takes seconds.
PATIENCE_SECONDS = 180.0
#: Bytes of a stream that are kept: an image's program may write without end.
_KEPT = 1 << 16
_DIGITS = 30
_MEASURES = 6  # the program's own figures are means of a share of a second each; of six values an interval is sure enough (Figure)


def compare(
    store: Store,
    settings: Settings,
    image: str,
    command: Sequence[str] = (),
    *,
    on: Sequence[str] = NAMES,
    repeat: int = 10,
    config: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measures `image` on the rungs `on`.

    Parameters: `command` is run for the times instead of the workload's own start (its first byte of output is then the first
    instruction that is seen); `repeat` is how often the times are taken; `config` the configuration file of the command lines.
    A rung that does not run here is in the report with its reason. Raises NotFound, InvalidArgument, FailedPrecondition.
    """
    if repeat < 1:
        raise InvalidArgument("cannot compare: --repeat is less than 1")
    talk = progress or Silent()
    started = format_time(datetime.now(UTC))
    chosen = rungs(store, settings, on, config)
    with image_with_workload(store, settings, image) as name:
        reports = {rung.name: RungReport(rung.name) for rung in chosen}
        try:
            working = [rung for rung in chosen if _prepare(rung, name, reports[rung.name], talk)]
            words = list(command) or [PATH_INSIDE, "start"]
            _take_times(working, words, repeat, reports, talk)
            _take_figures(working, reports, talk)
        finally:
            for rung in chosen:
                _clean(rung)
    return Report(image, tuple(command), repeat, started, _machine(), list(reports.values()))


def _machine() -> dict[str, str]:
    model = ""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"kernel": os.uname().release, "processor": model, "processors": str(os.cpu_count()), "memory": str(memory)}


def _prepare(rung: Rung, image: str, report: RungReport, talk: Progress) -> bool:
    """Proves a rung by running it, and takes what needs one look only: bytes on the disk, and a start with nothing in memory."""
    talk.start(rung.name, "trying it")
    try:
        rung.prepare(image)
        report.version = rung.version()
        once(rung.run(PATH_INSIDE, "start"))
        files, programs = files_of(rung.places()), files_of(rung.programs())
        if files:
            report.figures |= {name: Figure((float(bytes_of(each)),)) for name, each in (("disk", files), ("engine", programs)) if each}
            cold = []
            for _ in range(3):
                forget(files)
                cold.append(once(rung.run(PATH_INSIDE, "start"))[0])
            report.figures["start-cold"] = Figure(tuple(cold))
    except EstibaError as error:
        report.reason = error.message
        talk.done(rung.name, f"not here: {report.reason}")
        return False
    talk.done(rung.name, "works")
    return True


def _take_times(working: Sequence[Rung], words: Sequence[str], repeat: int, reports: dict[str, RungReport], talk: Progress) -> None:
    """In rounds, each in another order, so that a slow minute of the machine hits every rung alike."""
    first: dict[str, list[float]] = {rung.name: [] for rung in working}
    end: dict[str, list[float]] = {rung.name: [] for rung in working}
    for number in range(repeat):
        talk.start("times", f"round {number + 1} of {repeat}")
        for rung in random.sample(working, len(working)):
            begun, ended = once(rung.run(*words))
            first[rung.name].append(begun)
            end[rung.name].append(ended)
    talk.done("times", f"{repeat} rounds")
    for rung in working:
        reports[rung.name].figures |= {"start": Figure(tuple(first[rung.name])), "end": Figure(tuple(end[rung.name]))}


def _take_figures(working: Sequence[Rung], reports: dict[str, RungReport], talk: Progress) -> None:
    """What the program tells of itself, in rounds as the times are, then the memory. A rung that fails here is measured in part."""
    taken: dict[str, dict[str, list[float]]] = {rung.name: {} for rung in working}
    whole = {rung.name: rung for rung in working}
    for number in range(_MEASURES):
        talk.start("figures", f"processor, system calls, disk, network: round {number + 1} of {_MEASURES}")
        for rung in random.sample(list(whole.values()), len(whole)):
            try:
                for name, value in _measured(rung):
                    taken[rung.name].setdefault(name, []).append(value)
            except EstibaError as error:
                reports[rung.name].notes.append(error.message)
                del whole[rung.name]
    talk.done("figures", f"{_MEASURES} rounds")
    for rung in whole.values():
        report = reports[rung.name]
        report.figures |= {name: Figure(tuple(values)) for name, values in taken[rung.name].items()}
        try:
            report.figures["memory"] = Figure((float(_memory(rung)),))
        except EstibaError as error:
            report.notes.append(error.message)
    for rung in working:
        notes = reports[rung.name].notes
        talk.done(rung.name, f"measured in part: {notes[-1]}" if notes else "measured")


def _measured(rung: Rung) -> list[tuple[str, float]]:
    pairs = []
    container = f"estiba-compare-{os.getpid()}"
    try:
        text = output_of(rung.run_kept(container, PATH_INSIDE, "measure"))
    finally:
        rung.remove(container)
    for line in text.splitlines():
        name, _, value = line.rstrip("\r").partition(" ")
        if name in WORKLOAD and value not in ("", "-"):
            pairs.append((name, _number(value)))
    return pairs


def _number(text: str) -> float:
    if not text.isascii() or not text.replace(".", "", 1).isdigit() or len(text) > _DIGITS:
        raise Unavailable(f"what it measured is no number: {text[:_DIGITS]!r}")
    return float(text)


def _memory(rung: Rung) -> int:
    container = rung.start()
    try:
        time.sleep(1)  # at rest: what a start needed for a moment is given back
        return sum(shared_bytes(pid) for pid in rung.processes(container))
    finally:
        rung.remove(container)


def _clean(rung: Rung) -> None:
    try:
        rung.clean()
    except Unavailable:
        return  # it never got so far


# --- one run ---------------------------------------------------------------------------------------------------------------


def once(command: Sequence[str]) -> tuple[float, float]:
    """Milliseconds from the call to the first byte of output, and to the end. Raises Unavailable unless it exits with 0."""
    _, first, end = _run(command)
    return first, end


def output_of(command: Sequence[str]) -> str:
    """What a command writes. Raises Unavailable unless it exits with 0."""
    return _run(command)[0].decode(errors="replace")


def _run(command: Sequence[str]) -> tuple[bytes, float, float]:
    out, inner_out = os.pipe2(os.O_CLOEXEC)
    err, inner_err = os.pipe2(os.O_CLOEXEC)
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, source, target) for source, target in ((null, 0), (inner_out, 1), (inner_err, 2))]
    begun = time.monotonic()
    try:
        pid = os.posix_spawnp(command[0], list(command), os.environ, file_actions=actions)
    except OSError as error:
        os.close(out)
        os.close(err)
        raise Unavailable(f"cannot run {command[0]}: {(error.strerror or 'failed').lower()}") from error
    finally:
        for descriptor in (inner_out, inner_err, null):
            os.close(descriptor)
    try:
        said, first, in_time = _read(out, err, begun)
    finally:
        os.close(out)
        os.close(err)
    if not in_time:
        os.kill(pid, signal.SIGTERM)
    _, status = os.waitpid(pid, 0)
    end = (time.monotonic() - begun) * 1000
    if not in_time:
        raise Unavailable(f"it did not end within {PATIENCE_SECONDS:.0f} seconds")
    if status != 0:
        raise failure(said[1].decode(errors="replace"), os.waitstatus_to_exitcode(status))
    return said[0], first or end, end


def _read(out: int, err: int, begun: float) -> tuple[tuple[bytes, bytes], float, bool]:
    """The beginning of both streams, the milliseconds to the first byte of output, and whether both ended in time."""
    said = {out: b"", err: b""}
    first = 0.0
    poll = select.poll()
    for descriptor in said:
        poll.register(descriptor, select.POLLIN)
    left = 2
    while left:
        events = poll.poll(max(0.0, begun + PATIENCE_SECONDS - time.monotonic()) * 1000)
        if not events:
            return (said[out], said[err]), first, False
        for descriptor, _ in events:
            data = os.read(descriptor, 65536)
            if data and descriptor == out and not first:
                first = (time.monotonic() - begun) * 1000
            if not data:
                poll.unregister(descriptor)
                left -= 1
            said[descriptor] += data[: max(0, _KEPT - len(said[descriptor]))]
    return (said[out], said[err]), first, True
