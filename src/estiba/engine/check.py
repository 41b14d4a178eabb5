"""`system check`: reads every object of the store, and with `repair` fetches again or removes what is damaged.

What can be fetched is known from the layers themselves: each remembers the repositories in which its blob was seen. They are
read before the check, for a damaged layer goes together with what it remembers.
"""

from __future__ import annotations

from collections.abc import Callable

from estiba.config.settings import Settings
from estiba.errors import EstibaError
from estiba.oci.digest import DiffID
from estiba.oci.reference import Reference
from estiba.store import check as store_check
from estiba.store import gc, references
from estiba.store.check import Problem
from estiba.store.images import Image
from estiba.store.layers import layer_info
from estiba.store.layout import Store
from estiba.store.references import Target

Fetch = Callable[[Reference, Target], bool]


class Report:
    """What a check found, for people and for programs; `clean` when nothing is left to be repaired."""

    def __init__(self, found: store_check.Report, *, repaired: bool) -> None:
        self._found = found
        self._repaired = repaired

    @property
    def clean(self) -> bool:
        """Whether nothing damaged is left."""
        return self._found.clean

    @property
    def problems(self) -> list[Problem]:
        """Every damaged or missing object."""
        return self._found.problems

    def to_json(self) -> dict[str, object]:
        """Plain data for `--format json`."""
        problems = [
            {"kind": each.kind, "name": each.name, "cause": each.cause, "images": each.images, "repaired": each.repaired}
            for each in self.problems
        ]
        counts = {"references": self._found.references, "blobs": self._found.blobs, "layers": self._found.layers}
        return {"clean": self.clean, "checked": counts, "problems": problems}

    def lines(self) -> list[str]:
        """One line per problem, and one that sums up."""
        lines = []
        for each in self.problems:
            touched = f" (images: {', '.join(each.images)})" if each.images else ""
            repaired = f"; {each.repaired}" if each.repaired else ""
            lines.append(f"{each.kind} {each.name}: {each.cause}{touched}{repaired}")
        found = self._found
        read = f"read {found.references} references, {found.blobs} blobs, {found.layers} layers"
        if not self.problems:
            return [f"{read}: nothing is damaged"]
        left = sum(not each.repaired for each in self.problems)
        many = "problem" if len(self.problems) == 1 else "problems"
        lines.append(f"{read}: {len(self.problems)} {many}, {len(self.problems) - left} repaired")
        if left and not self._repaired:
            lines.append("repair them with: estiba system check --repair")
        return lines


def check(store: Store, settings: Settings, *, repair: bool = False, fetch: Fetch | None = None) -> Report:
    """Checks the whole store.

    Parameters: `repair`, whether damaged objects are fetched again or removed; `fetch`, what brings a reference's content back,
    the registries that the layers came from when None. Raises PermissionDenied, ResourceExhausted.
    """
    chosen = fetch or _Refetch(store, settings)
    return Report(store_check.check(store, repair=repair, fetch=chosen if repair else None), repaired=repair)


class _Refetch:
    """Pulls the images of a reference again, by digest, from where their layers were seen."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._sources: dict[DiffID, list[str]] = {}
        self._unreadable: set[DiffID] = set()
        for diff_id in gc.all_layers(store):
            try:
                self._sources[diff_id] = [blob.source for blob in layer_info(store, diff_id).blobs if blob.source]
            except EstibaError:
                self._unreadable.add(diff_id)

    def __call__(self, reference: Reference, target: Target) -> bool:
        failure: EstibaError | None = None
        for repository in self._repositories(reference, target):
            try:
                self._pull(repository, target)
            except EstibaError as error:
                failure = error
            else:
                return True
        if failure is not None:
            raise failure
        return False

    def _repositories(self, reference: Reference, target: Target) -> list[str]:
        """`host/repository` in the order of likelihood. The image's own name counts only where the layers cannot tell: an image
        that was imported here must not be looked for in a registry.
        """
        layers: list[DiffID] = []
        for entry in target.images:
            try:
                layers += Image(self._store, reference, target, entry).layers
            except EstibaError:  # the configuration is what is damaged
                self._unreadable.add(DiffID(""))
                layers.append(DiffID(""))
        known = dict.fromkeys(source for diff_id in layers for source in self._sources.get(diff_id, ()))
        if reference.name in known:
            return [reference.name, *(source for source in known if source != reference.name)]
        if not known and reference.name and self._unreadable.intersection(layers):
            return [reference.name]
        return list(known)

    def _pull(self, repository: str, target: Target) -> None:
        from estiba.engine.pull import pull

        host, _, path = repository.partition("/")
        by_digest = Reference(host, path, None, target.digest)
        was_there = references.get(self._store, by_digest) is not None
        for entry in target.images:
            pull(self._store, self._settings, by_digest, platform=entry.platform)
        if not was_there:
            references.delete(self._store, by_digest)
