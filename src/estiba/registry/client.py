"""The face of this room: one `Registry` object per registry, for any number of threads.

Sections named below are those of the distribution-spec. Reads ask the mirrors first; whatever a mirror cannot give, the registry
is asked for. Writes go to the registry only.
"""

from __future__ import annotations

import http
import os
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, NoReturn, Self, TypeVar

from estiba import errors
from estiba.config import proxies
from estiba.config.settings import Settings
from estiba.oci import media_types, strict_json
from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import Digest, digest_matches, parse_digest, sha256_digest
from estiba.registry.blobs import BlobStream
from estiba.registry.connect import Failure
from estiba.registry.credentials import CredentialSource, anonymous
from estiba.registry.endpoints import endpoint_of, mirrors_of
from estiba.registry.session import Call, Session
from estiba.registry.tls import Trust
from estiba.registry.transport import Answer, Limits, Transport, parse_url
from estiba.registry.uploads import CHUNK, Sent, Upload, absolute

_MAX_MANIFEST = strict_json.LIMIT
_MAX_TAGS = 1_000_000
_NEXT = re.compile(r'\s*<([^<>"\s]+)>\s*;\s*rel="?next"?\s*', re.ASCII)
#: Where Docker keeps the certificates of registries; ours are in `certs.d` beside the configuration file.
_DOCKER_CERTIFICATES = "/etc/docker/certs.d"
#: What a mirror may answer without the pull being lost.
_MIRROR_FAULTS = (errors.Unavailable, errors.NotFound, errors.Unauthenticated, errors.PermissionDenied)

T = TypeVar("T")


class Registry:
    """A registry.

    Parameters: `host`, its name as in a reference; `settings`; `credentials`, asked when the registry wants one; `limits`.
    All methods raise Unauthenticated, PermissionDenied, NotFound, Unavailable, and DataLoss for content that is not what it says.
    """

    def __init__(
        self, host: str, settings: Settings, credentials: CredentialSource = anonymous, *, limits: Limits | None = None
    ) -> None:
        own = endpoint_of(host, settings)
        endpoints = [*mirrors_of(host, settings), own]
        unverified = frozenset(
            (endpoint.host, endpoint.port or 443)
            for endpoint in endpoints
            if settings.waives_tls(endpoint.registry)
        )
        folders = (os.path.join(settings.config_dir, "certs.d"), _DOCKER_CERTIFICATES)
        self._transport = Transport(Trust(folders, unverified), proxies.from_environment(), limits or Limits())
        self.host = host
        self._sessions = [Session(endpoint, self._transport, credentials, settings.token_realms) for endpoint in endpoints]
        self._own = self._sessions[-1]

    def close(self) -> None:
        """Close the connections that are kept for the next request."""
        self._transport.close()

    def cancel(self) -> None:
        """Break off what other threads are doing with this object; they raise Cancelled or Unavailable."""
        self._transport.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- reading ----------------------------------------------------------------------------------------------------

    def get_manifest(self, repository: str, reference: str) -> tuple[bytes, str, Digest]:
        """The manifest or index at a tag or digest: its bytes, media type and digest ("Pulling manifests")."""
        what = f"fetch manifest {_named(self.host, repository, reference)}"
        return self._first(lambda session: _get_manifest(session, repository, reference, what))

    def head_manifest(self, repository: str, reference: str) -> Digest | None:
        """The digest of a manifest without its bytes; None when the registry does not say it."""
        what = f"look up manifest {_named(self.host, repository, reference)}"
        call = _manifest_call("HEAD", repository, reference, what)

        def head(session: Session) -> Digest | None:
            told = session.ask(call, lambda answer: _head(session, what, answer))
            return None if told is None else _told_digest(told, what, session)

        return self._first(head)

    def blob_chunks(self, repository: str, descriptor: Descriptor) -> Iterator[bytes]:
        """The verified bytes of a blob ("Pulling blobs"); nothing is requested before the first `next`. See `BlobStream`."""
        what = f"fetch blob {descriptor.digest[:19]} of {repository}"
        target = f"/v2/{repository}/blobs/{descriptor.digest}"
        for session in self._sessions:
            stream = BlobStream(session, target, _pull(repository), descriptor, what)
            try:
                first = next(stream, b"")
            except _MIRROR_FAULTS:
                if session is self._own:
                    raise
                continue
            try:
                if first:
                    yield first
                yield from stream
            finally:
                stream.close()
            return

    def tags(self, repository: str) -> list[str]:
        """All tags ("Listing Tags"), following the pages on the registry's own origin."""
        what = f"list the tags of {self.host}/{repository}"
        return self._first(lambda session: _tags(session, repository, what))

    def _first(self, ask: Callable[[Session], T]) -> T:
        for session in self._sessions[:-1]:
            try:
                return ask(session)
            except _MIRROR_FAULTS:
                continue
        return ask(self._own)

    # --- writing ----------------------------------------------------------------------------------------------------

    def check(self) -> str:
        """Ask the registry whether it knows us ("Determining Support"); returns the identity token of a log-in, or nothing."""
        what = f"log in to {self.host}"

        def check(answer: Answer) -> None:
            if answer.status != http.HTTPStatus.OK:
                self._own.refuse(what, answer)
            if answer.media_type == "text/html":
                _not_a_registry(what, self._own)
            answer.discard()

        self._own.ask(Call("GET", "/v2/", what), check)
        return self._own.identity_token

    def has_blob(self, repository: str, digest: Digest) -> bool:
        """Whether the repository has the blob ("Checking if content exists"); asked with the right to push."""
        what = f"look up blob {digest[:19]} of {repository}"

        def head(answer: Answer) -> bool:
            if answer.status not in {http.HTTPStatus.OK, http.HTTPStatus.NOT_FOUND}:
                self._own.refuse(what, answer)
            answer.discard()
            return answer.status == http.HTTPStatus.OK

        return self._own.ask(Call("HEAD", f"/v2/{repository}/blobs/{digest}", what, _push(repository)), head)

    def mount_blob(self, repository: str, digest: Digest, source: str) -> str | None:
        """Take over a blob from the repository `source` of the same registry ("Mounting a blob").

        None when that is done; otherwise the upload session that the registry opened instead, for `upload_blob`.
        """
        what = f"mount blob {digest[:19]} from {source} into {repository}"
        target = f"/v2/{repository}/blobs/uploads/?mount={digest.replace(':', '%3A')}&from={source.replace('/', '%2F')}"

        def mounted(answer: Answer) -> str | None:
            if answer.status not in {http.HTTPStatus.CREATED, http.HTTPStatus.ACCEPTED}:
                self._own.refuse(what, answer)
            location = answer.header("Location") or ""
            answer.discard()
            return None if answer.status == http.HTTPStatus.CREATED else absolute(location, answer, what, self.host)

        return self._own.ask(Call("POST", target, what, [*_push(repository), *_pull(source)]), mounted)

    def upload_blob(
        self,
        repository: str,
        digest: Digest,
        size: int,
        file: BinaryIO,
        *,
        location: str | None = None,
        sent: Sent | None = None,
        chunk: int = CHUNK,
    ) -> None:
        """Upload `size` bytes of a seekable file ("Pushing blobs"); in chunks when it is larger than `chunk` bytes."""
        upload = Upload(self._own, repository, _push(repository), digest, size, file=file, chunk=chunk)
        upload.send(location, sent)

    def put_manifest(self, repository: str, reference: str, media_type: str, data: bytes) -> Digest:
        """Publish a manifest at a tag or digest ("Pushing Manifests"); returns its digest."""
        what = f"push manifest {_named(self.host, repository, reference)}"
        digest = sha256_digest(data)

        def stored(answer: Answer) -> None:
            if answer.status != http.HTTPStatus.CREATED:
                self._own.refuse(what, answer)
            answer.discard()
            told = answer.header("Docker-Content-Digest")
            if told is not None and told.startswith("sha256:") and told != digest:
                raise errors.DataLoss(f"cannot {what} ({self.host}): the registry stored {told[:80]!r}, not {digest}")

        target = f"/v2/{repository}/manifests/{reference}"
        self._own.ask(Call("PUT", target, what, _push(repository), {"Content-Type": media_type}, data), stored)
        return digest


def _named(host: str, repository: str, reference: str) -> str:
    return f"{host}/{repository}{'@' if ':' in reference else ':'}{reference}"


def _pull(repository: str) -> list[str]:
    return [f"repository:{repository}:pull"]


def _push(repository: str) -> list[str]:
    return [f"repository:{repository}:pull,push"]


def _manifest_call(method: str, repository: str, reference: str, what: str) -> Call:
    headers = {"Accept": ", ".join(media_types.ACCEPT)}
    return Call(method, f"/v2/{repository}/manifests/{reference}", what, _pull(repository), headers)


def _head(session: Session, what: str, answer: Answer) -> str | None:
    if answer.status != http.HTTPStatus.OK:
        session.refuse(what, answer)
    answer.discard()
    return answer.header("Docker-Content-Digest")


def _get_manifest(session: Session, repository: str, reference: str, what: str) -> tuple[bytes, str, Digest]:
    def read(answer: Answer) -> tuple[bytes, str, str | None]:
        if answer.status != http.HTTPStatus.OK:
            session.refuse(what, answer)
        if answer.media_type == "text/html":
            _not_a_registry(what, session)
        _check_plain(answer, what, session)
        return answer.read(_MAX_MANIFEST), answer.media_type, answer.header("Docker-Content-Digest")

    data, media_type, told = session.ask(_manifest_call("GET", repository, reference, what), read)
    digest = sha256_digest(data)
    wanted = [parse_digest(reference)] if ":" in reference else []
    if told is not None:
        wanted.append(_told_digest(told, what, session))
    for expected in wanted:
        if not digest_matches(expected, data):
            raise errors.DataLoss(f"cannot {what} ({session.endpoint.registry}): its digest is {digest}, not {expected}")
    return data, media_type, wanted[0] if ":" in reference else digest


def _check_plain(answer: Answer, what: str, session: Session) -> None:
    where = session.endpoint.registry
    coding = (answer.header("Content-Encoding") or "identity").strip().lower()
    if coding != "identity":
        raise errors.DataLoss(f"cannot {what} ({where}): the registry sends it with a Content-Encoding that was not asked for")
    length = answer.length
    if length is not None and length > _MAX_MANIFEST:
        raise errors.DataLoss(f"cannot {what} ({where}): it has {length} bytes, more than the limit of {_MAX_MANIFEST} (4 MiB)")


def _told_digest(told: str, what: str, session: Session) -> Digest:
    try:
        return parse_digest(told)
    except errors.InvalidArgument:
        raise errors.DataLoss(
            f"cannot {what} ({session.endpoint.registry}): Docker-Content-Digest {told[:80]!r} is not a digest"
        ) from None


def _not_a_registry(what: str, session: Session) -> NoReturn:
    raise errors.Unavailable(
        f"cannot {what} ({session.endpoint.registry}): the answer is a web page, not that of a registry",
        hint="is there a log-in page or a proxy in between?",
    )


def _tags(session: Session, repository: str, what: str) -> list[str]:
    def page(answer: Answer) -> tuple[list[str], str | None]:
        if answer.status != http.HTTPStatus.OK:
            session.refuse(what, answer)
        listed = strict_json.loads(answer.read(_MAX_MANIFEST), what="list of tags")
        if isinstance(listed, dict) and listed.get("tags") is None:
            return [], None  # a repository without tags: Go writes null
        return strict_json.get_str_list(listed, "tags", "list of tags"), _next_page(answer, session)

    target: str | None = f"/v2/{repository}/tags/list"
    found: list[str] = []
    seen: set[str] = set()
    while target is not None and target not in seen:
        seen.add(target)
        more, target = session.ask(Call("GET", target, what, _pull(repository)), page)
        found += more
        if len(found) > _MAX_TAGS:
            raise errors.ResourceExhausted(f"cannot {what}: more than {_MAX_TAGS} tags")
    return found


def _next_page(answer: Answer, session: Session) -> str | None:
    """The target of the next page (RFC 8288); one on another origin is refused, for it would get our token."""
    for value in answer.headers("Link"):
        match = _NEXT.fullmatch(value)
        if match:
            try:
                origin, target = parse_url(match[1], answer.origin.url + answer.target)
            except ValueError:
                raise Failure("listing the tags", "the next page is at a malformed URL", retry=False) from None
            if origin != session.origin():
                raise Failure("listing the tags", f"the next page is on another origin, {origin.url}", retry=False)
            return target.removeprefix(session.endpoint.prefix)
    return None

