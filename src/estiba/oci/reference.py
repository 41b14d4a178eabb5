"""Image references: Docker's grammar, and its normalisation.

    reference  = name [":" tag] ["@" digest]
    name       = [registry "/"] component {"/" component}
    registry   = (domain | IPv4 | "[" IPv6 "]") [":" port]
    component  = [a-z0-9]+ {("." | "_" | "__" | "-"+) [a-z0-9]+}
    tag        = [A-Za-z0-9_] up to 127 of [A-Za-z0-9_.-]

The first component is a registry when it holds a dot or a colon, is ``localhost``, or has an upper-case letter; otherwise
the default registry is meant, and on docker.io a single component is in ``library/`` (distribution-spec "Pulling
manifests"; Docker's reference package). The grammar is written by hand: this module is on the start path.
"""

from __future__ import annotations

from estiba.errors import InvalidArgument
from estiba.oci.digest import Digest, is_hex, parse_digest

DOCKER_HUB = "docker.io"
#: Docker's limit on the repository's path, in characters.
REPOSITORY_MAX = 255
TAG_MAX = 128

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_ALNUM = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_TAG = _ALNUM | frozenset("_.-")
_DIGITS = frozenset("0123456789")
_IPV6 = frozenset("0123456789abcdefABCDEF:")


class Reference:
    """A normalised image reference. Immutable by convention, comparable and hashable by its canonical form.

    `registry` host with optional port; `repository` path; `tag` or None; `digest` or None. An image without a name
    (dangling) has an empty registry and repository, and the digest of its manifest.
    """

    __slots__ = ("digest", "registry", "repository", "tag")

    def __init__(self, registry: str, repository: str, tag: str | None = None, digest: Digest | None = None) -> None:
        self.registry = registry
        self.repository = repository
        self.tag = tag
        self.digest = digest

    @property
    def is_dangling(self) -> bool:
        """Whether this stands for an image that has no name (Docker's ``<none>``)."""
        return not self.repository

    @property
    def name(self) -> str:
        """``registry/repository``, without tag and digest."""
        return f"{self.registry}/{self.repository}" if self.repository else ""

    @property
    def canonical(self) -> str:
        """The full form, for example ``docker.io/library/alpine:3.20``; ``@sha256:...`` for a dangling image."""
        return self.name + self._suffix()

    @property
    def familiar(self) -> str:
        """Docker's short form, for example ``alpine:3.20``."""
        return self.short()

    @property
    def familiar_name(self) -> str:
        """Docker's short form without tag and digest, ``<none>`` for a dangling image."""
        return self.short_name() or "<none>"

    def short(self, default_registry: str = DOCKER_HUB) -> str:
        """The shortest form that `parse_reference` with the same default registry reads as this reference."""
        return (self.short_name(default_registry) or "<none>") + self._suffix()

    def short_name(self, default_registry: str = DOCKER_HUB) -> str:
        """`short` without tag and digest."""
        if self.registry != default_registry or not self.repository:
            return self.name
        rest = self.repository
        if self.registry == DOCKER_HUB and rest.startswith("library/") and "/" not in rest[8:]:
            return rest[8:]
        return rest if not _is_registry(rest.partition("/")) else self.name

    def with_tag(self, tag: str) -> Reference:
        """The same repository with `tag` and without a digest. Raises InvalidArgument for a malformed tag."""
        _check_tag(tag, f"{self.name}:{tag}")
        return Reference(self.registry, self.repository, tag)

    def with_digest(self, digest: Digest) -> Reference:
        """The same repository, by digest only."""
        return Reference(self.registry, self.repository, None, digest)

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and self.canonical == other.canonical

    def __hash__(self) -> int:
        return hash(self.canonical)

    def __str__(self) -> str:
        return self.familiar

    def __repr__(self) -> str:
        return f"Reference({self.canonical!r})"


def dangling(digest: Digest) -> Reference:
    """The reference that stands for an image without a name; `digest` is its manifest's."""
    return Reference("", "", None, digest)


def parse_reference(text: str, default_registry: str = DOCKER_HUB) -> Reference:
    """Reads and normalises a reference as Docker does; the tag is ``latest`` when neither tag nor digest is given.

    `default_registry` is the registry of a name that names none. Raises InvalidArgument with the part that is wrong.
    """
    if not text:
        raise _malformed(text, "it is empty")
    if len(text) == 64 and is_hex(text):
        raise _malformed(text, "64 hexadecimal digits are an image id, not a name")
    if "://" in text:
        raise _malformed(text, "it begins with a scheme", hint=f"leave out {text[: text.index('://') + 3][:30]!r}")
    rest, at, digest_text = text.partition("@")
    digest = parse_digest(digest_text) if at else None
    name, tag = _split_tag(rest)
    if tag is not None:
        _check_tag(tag, text)
    registry, repository = _split_registry(name, default_registry)
    _check_registry(registry, text)
    _check_repository(repository, text)
    if tag is None and digest is None:
        tag = "latest"
    return Reference(registry, repository, tag, digest)


def parse_canonical(text: str) -> Reference:
    """Reads back what `Reference.canonical` wrote. Raises InvalidArgument."""
    if text.startswith("@"):
        return dangling(parse_digest(text[1:]))
    return parse_reference(text)


def _malformed(text: str, why: str, hint: str | None = None) -> InvalidArgument:
    return InvalidArgument(f"cannot use reference {text[:300]!r}: invalid reference format: {why}", hint=hint)


def _split_tag(rest: str) -> tuple[str, str | None]:
    """Parts the tag from the name: the colon after the last slash (one before it begins a port)."""
    colon = rest.rfind(":")
    if colon < 0 or "/" in rest[colon:]:
        return rest, None
    return rest[:colon], rest[colon + 1 :]


def _is_registry(parts: tuple[str, str, str]) -> bool:
    first, slash, _ = parts
    return bool(slash) and (first[:1] == "[" or "." in first or ":" in first or first == "localhost" or first.lower() != first)


def _split_registry(name: str, default_registry: str) -> tuple[str, str]:
    parts = name.partition("/")
    registry, repository = (parts[0], parts[2]) if _is_registry(parts) else (default_registry, name)
    if registry == "index." + DOCKER_HUB:
        registry = DOCKER_HUB
    if registry == DOCKER_HUB and "/" not in repository:
        repository = "library/" + repository
    return registry, repository


def _check_tag(tag: str, text: str) -> None:
    if not tag:
        raise _malformed(text, "the tag is empty")
    if len(tag) > TAG_MAX:
        raise _malformed(text, f"the tag has {len(tag)} characters, the limit is {TAG_MAX}")
    if not _TAG.issuperset(tag) or tag[0] in ".-":
        raise _malformed(text, "a tag has letters, digits, '_', '.' and '-', and begins with none of the last two")


def _check_repository(repository: str, text: str) -> None:
    plain = repository.removeprefix("library/")
    if not plain:
        raise _malformed(text, "the repository name is empty")
    if len(repository) > REPOSITORY_MAX:
        raise _malformed(text, f"the repository name has more than {REPOSITORY_MAX} characters")
    for component in repository.split("/"):
        _check_component(component, text)


def _check_component(component: str, text: str) -> None:
    if not component:
        raise _malformed(text, "a part of the repository name is empty")
    if not _LOWER.issuperset(component):
        lower = component.lower()
        if lower != component and component.isascii():
            better = text.replace(component, lower)
            raise _malformed(text, "the repository name must be lower-case", hint=f"did you mean {better[:300]!r}?")
        _check_separators(component, text)


def _check_separators(component: str, text: str) -> None:
    """Separators stand between letters or digits: one of ``.``, ``_``, ``__``, or any number of ``-``."""
    previous = ""
    for index, letter in enumerate(component):
        if letter not in _LOWER:
            if letter not in "._-":
                raise _malformed(text, f"{letter!r} may not stand in a repository name")
            double_underscore = letter == previous == "_" and component[index - 2] != "_"
            dashes = letter == previous == "-"
            if index == 0 or (previous not in _LOWER and not double_underscore and not dashes):
                raise _malformed(text, f"in the repository name {component!r} a separator is out of place")
        previous = letter
    if previous not in _LOWER:
        raise _malformed(text, f"the repository name {component!r} ends with a separator")


def _check_registry(registry: str, text: str) -> None:
    host, port = registry, None
    if registry.startswith("["):
        host, bracket, rest = registry[1:].partition("]")
        if not bracket or not _IPV6.issuperset(host) or host.count(":") < 2 or (rest and rest[0] != ":"):
            raise _malformed(text, f"{registry!r} is not an IPv6 address in brackets with an optional port")
        port = rest[1:] if rest else None
    else:
        host, colon, after = registry.partition(":")
        port = after if colon else None
        for label in host.split("."):
            if not label or not _ALNUM.issuperset(label.replace("-", "")) or label[0] == "-" or label[-1] == "-":
                raise _malformed(text, f"{host!r} is not a host name")
    if port is not None and not (port and _DIGITS.issuperset(port) and len(port) <= 5 and 0 < int(port) < 65536):
        raise _malformed(text, f"{port!r} is not a port between 1 and 65535")
