"""Checking the store: every object is read, what is damaged is named with the images that it touches, and only that is repaired.

Repair removes what is damaged, so that fetching the touched images again brings exactly that back; what cannot be fetched loses
its references. A layer that a container stands on is reported and left alone. The check itself changes nothing.
"""

from __future__ import annotations

import os

from estiba.errors import DataLoss, EstibaError, NotFound
from estiba.oci.digest import ALGORITHMS, DiffID, ImageID, algorithm_of, hex_of, is_hex, parse_digest
from estiba.oci.image_config import parse_image_config
from estiba.oci.manifest import Manifest, parse_manifest
from estiba.oci.reference import dangling
from estiba.store import layers, references
from estiba.store.blobs import CHUNK, all_blobs, delete_blob, has_blob, open_blob, read_blob
from estiba.store.images import Image, read_manifest
from estiba.store.layout import folders
from estiba.store.references import Target, TargetImage
from estiba.store.roots import container_roots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from estiba.oci.digest import Digest
    from estiba.oci.reference import Reference
    from estiba.store.layout import Store
    from estiba.store.roots import ContainerRoots

    #: Brings what is missing of a reference, whose digest is given by the target; whether it did.
    Fetch = Callable[[Reference, Target], bool]


_MISSING = "it is missing"


class Problem:
    """One damaged or missing object.

    `kind` is "folder", "reference", "blob", "layer", "container" or "index"; `name`; `cause`; `images`, the names of the images that it
    touches; `repaired`, what was done about it, empty when nothing was.
    """

    __slots__ = ("cause", "images", "kind", "name", "repaired")

    def __init__(self, kind: str, name: str, cause: str, images: list[str] | None = None) -> None:
        self.kind = kind
        self.name = name
        self.cause = cause
        self.images = images or []
        self.repaired = ""


class Report:
    """What a check found: `problems`, and how many `blobs`, `references` and `layers` were read."""

    __slots__ = ("blobs", "layers", "problems", "references")

    def __init__(self) -> None:
        self.blobs = 0
        self.layers = 0
        self.references = 0
        self.problems: list[Problem] = []

    @property
    def clean(self) -> bool:
        """Whether nothing is left to be repaired."""
        return all(problem.repaired for problem in self.problems)


def check(store: Store, *, repair: bool = False, fetch: Fetch | None = None, progress: Callable[[str], None] | None = None) -> Report:
    """Reads every object of the store.

    `repair` removes what is damaged; `fetch` then brings back what it can, without it the touched references go. `progress` is
    called with the name of each object before it is read.
    """
    checker = _Checker(store, repair, progress or _silent)
    with store.collecting() if repair else store.using():
        checker.folders()
        checker.references()
        checker.blobs()
        checker.layers()
        checker.containers()
        checker.missing()
        if repair:
            _forget_shared_files(store, checker.report.problems)
    if repair:
        _bring_back(store, checker, fetch)
    checker.index()
    return checker.report


def _silent(_: str) -> None:
    return


class _Checker:
    """One pass over the store."""

    def __init__(self, store: Store, repair: bool, progress: Callable[[str], None]) -> None:
        self.store = store
        self.repair = repair
        self.progress = progress
        self.report = Report()
        self.targets: list[tuple[Reference, Target]] = []
        self.states: list[ContainerRoots] = []
        self.broken: dict[Reference, Target] = {}  # references that miss something
        self.seen: dict[str, Problem] = {}  # damaged blobs and layers

    def problem(self, kind: str, name: str, cause: str, images: list[str] | None = None) -> Problem:
        found = Problem(kind, name, cause, images)
        self.report.problems.append(found)
        return found

    def folders(self) -> None:
        for path in folders(self.store):
            if not os.path.isdir(path) or os.path.islink(path):
                found = self.problem("folder", path, "it is missing" if not os.path.lexists(path) else "it is not a folder")
                if self.repair and not os.path.lexists(path):
                    os.mkdir(path, 0o755)
                    found.repaired = "made again, empty"

    def references(self) -> None:
        for name in references.names(self.store):
            self.progress(f"reference {name}")
            self.report.references += 1
            try:
                found = references.read_named(self.store, name)
            except DataLoss as error:
                self.damaged_reference(name, _cause(error))
            else:
                if found is not None:
                    self.targets.append(self.agreeing(*found))

    def damaged_reference(self, name: str, cause: str) -> None:
        problem = self.problem("reference", name, cause)
        if self.repair:
            _set_aside(self.store, f"{self.store.refs}/{name}")
            problem.repaired = "removed; pull or tag the image again"

    def agreeing(self, reference: Reference, target: Target) -> tuple[Reference, Target]:
        """A reference says nothing that its digest does not say; where it does, it is written again."""
        right = _by_documents(self.store, target)
        if right is None or references.encode(reference, right) == references.encode(reference, target):
            return reference, target
        problem = self.problem("reference", references.file_name(reference), "it is not what its manifest says", [reference.familiar])
        if self.repair:
            references.put_exactly(self.store, reference, right)
            problem.repaired = "written again"
        return reference, right

    def blobs(self) -> None:
        for algorithm in ALGORITHMS:
            self.strangers(f"{self.store.blobs}/{algorithm}", ALGORITHMS[algorithm])
        for digest in sorted(all_blobs(self.store)):
            self.progress(f"blob {digest}")
            self.report.blobs += 1
            cause = _damage_of_blob(self.store, digest)
            if cause:
                problem = self.problem("blob", digest, cause)
                self.seen[digest] = problem
                if self.repair:
                    _remove_blob(self.store, digest)
                    problem.repaired = "removed"

    def strangers(self, folder: str, length: int) -> None:
        """Names that no digest has."""
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            if not is_hex(name) or len(name) != length:
                problem = self.problem("blob", f"{folder}/{name}", "its name is not a digest")
                if self.repair:
                    _set_aside(self.store, f"{folder}/{name}")
                    problem.repaired = "moved to trash"

    def layers(self) -> None:
        from estiba.store.gc import all_layers

        states = self.read_states()
        for diff_id in all_layers(self.store):
            self.progress(f"layer {diff_id}")
            self.report.layers += 1
            cause = _damage_of_layer(self.store, diff_id)
            if cause:
                problem = self.problem("layer", diff_id, cause)
                self.seen[diff_id] = problem
                users = [state.id for state in states if diff_id in state.layers]
                if users:
                    problem.cause += f"; container {users[0][:12]} stands on it"
                elif self.repair:
                    layers.remove_layer(self.store, diff_id)
                    problem.repaired = "removed"

    def read_states(self) -> list[ContainerRoots]:
        for name in sorted(os.listdir(self.store.containers)):
            if not is_hex(name):
                continue
            try:
                state = container_roots(self.store, name)
            except DataLoss as error:
                self.problem("container", name, _cause(error))
            else:
                if state is not None:
                    self.states.append(state)
        return self.states

    def containers(self) -> None:
        for state in self.states:
            missing = [diff_id for diff_id in state.layers if not layers.has_layer(self.store, diff_id)]
            if missing:
                self.problem("container", state.id, f"layer {missing[0]} is missing")

    def missing(self) -> None:
        """What references lead to and is not there; names the images that damaged objects touch."""
        told: dict[str, Problem] = {}
        for reference, target in self.targets:
            for kind, name in needs(self.store, target):
                problem = self.seen.get(name) or told.get(name)
                if problem is None:
                    if _has(self.store, kind, name):
                        continue
                    problem = told[name] = self.problem(kind, name, _MISSING)
                problem.images.append(reference.familiar)
                if problem.repaired or name in told:
                    self.broken[reference] = target

    def index(self) -> None:
        """index.json is what the references say."""
        if not references.is_index_right(self.store):
            problem = self.problem("index", "index.json", "it is not what the references say")
            if self.repair:
                references.write_index(self.store)
                problem.repaired = "written again"


def _by_documents(store: Store, target: Target) -> Target | None:
    """The target as its manifests and configurations have it; None when one of them cannot be read, which is damage of its own."""
    try:
        data = read_blob(store, target.digest)
        top = parse_manifest(data)
        entries = [_entry_by_documents(store, entry.manifest) for entry in target.images]
        if isinstance(top, Manifest):
            entries = [_entry_by_documents(store, target.digest)]
    except EstibaError:
        return None
    return Target(top.media_type, target.digest, len(data), entries)


def _entry_by_documents(store: Store, digest: Digest) -> TargetImage:
    image = ImageID(read_manifest(store, digest).config.digest)
    config = parse_image_config(read_blob(store, parse_digest(image)))
    return TargetImage(config.platform, digest, image)


def needs(store: Store, target: Target) -> list[tuple[str, str]]:
    """Kind and name of the objects without which a reference does not work; compressed layers are not among them."""
    found: list[tuple[str, str]] = [("blob", target.digest)]
    for entry in target.images:
        found += [("blob", entry.manifest), ("blob", entry.config)]
        try:
            found += [("layer", diff_id) for diff_id in Image(store, dangling(target.digest), target, entry).layers]
        except EstibaError:
            continue  # the configuration is missing or damaged: an object of its own
    return list(dict.fromkeys(found))


def _has(store: Store, kind: str, name: str) -> bool:
    return layers.has_layer(store, DiffID(name)) if kind == "layer" else has_blob(store, parse_digest(name))


def _is_complete(store: Store, target: Target) -> bool:
    return all(_has(store, kind, name) for kind, name in needs(store, target))


def _bring_back(store: Store, checker: _Checker, fetch: Fetch | None) -> None:
    """Fetches what the broken references miss, names first: a nameless image often misses the same."""
    for reference, target in sorted(checker.broken.items(), key=lambda item: item[0].is_dangling):
        done = "fetched again"
        if not _is_complete(store, target):
            cause = _fetched(reference, target, fetch)
            if cause or not _is_complete(store, target):
                references.delete(store, reference)
                done = f"{reference.familiar} removed" + (f" ({cause})" if cause else "")
        for problem in checker.report.problems:
            if reference.familiar in problem.images and done not in problem.repaired:
                problem.repaired = f"{problem.repaired}, {done}".removeprefix(", ")
    if checker.broken:
        references.write_index(store)


def _fetched(reference: Reference, target: Target, fetch: Fetch | None) -> str:
    """Empty when the reference was fetched, else why not."""
    if fetch is None:
        return "it was not to be fetched"
    try:
        return "" if fetch(reference, target) else "it cannot be fetched"
    except EstibaError as error:
        return error.message


def _damage_of_blob(store: Store, digest: Digest) -> str:
    """What is wrong with a blob, empty when nothing is."""
    import hashlib

    try:
        descriptor = open_blob(store, digest)
    except NotFound:
        return ""  # removed since it was listed
    except DataLoss as error:
        return _cause(error)
    try:
        hasher = hashlib.new(algorithm_of(digest))
        while chunk := os.read(descriptor, CHUNK):
            hasher.update(chunk)
    except OSError as error:
        return str(error.strerror)
    finally:
        os.close(descriptor)
    return "" if hasher.hexdigest() == hex_of(digest) else f"its content is damaged, its digest is {hasher.hexdigest()[:12]}..."


def _damage_of_layer(store: Store, diff_id: DiffID) -> str:
    """What is wrong with a layer, empty when nothing is."""
    try:
        causes = layers.verify_layer(store, diff_id)
    except EstibaError as error:
        return _cause(error)
    more = f" and {len(causes) - 1} more" if len(causes) > 1 else ""
    return causes[0].partition(": ")[2] + more if causes else ""


def _forget_shared_files(store: Store, problems: list[Problem]) -> None:
    """What is fetched again must not be linked to a damaged file.

    The files of removed layers go with their last name; where a damaged layer stays, since a container stands on it, no file is
    offered for sharing any more: which of them is the damaged one is not known.
    """
    damaged = [problem for problem in problems if problem.kind == "layer" and problem.cause != _MISSING]
    if not damaged:
        return
    layers.empty_trash(store)
    layers.sweep_files(store)
    if any(not problem.repaired for problem in damaged):
        for shelf in os.listdir(store.files):
            for name in os.listdir(f"{store.files}/{shelf}"):
                os.unlink(f"{store.files}/{shelf}/{name}")


def _remove_blob(store: Store, digest: Digest) -> None:
    path = store.blob_path(digest)
    if os.path.isdir(path) and not os.path.islink(path):
        _set_aside(store, path)
    else:
        delete_blob(store, digest)


def _set_aside(store: Store, path: str) -> None:
    """Moves something that should not be there to the trash, whatever it is."""
    os.rename(path, f"{store.trash}/{os.path.basename(path)[:100]}-{os.urandom(8).hex()}")


def _cause(error: EstibaError) -> str:
    """The cause of an error without the object, which the report names beside it."""
    return error.message.partition(": ")[2] or error.message
