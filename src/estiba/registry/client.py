"""The face of this room: one `Registry` object per registry, for any number of threads.

Sections named below are those of the distribution-spec. Reads ask the mirrors first; whatever a mirror cannot give, the registry
is asked for. Writes go to the registry only.
"""

from __future__ import annotations

import http
import os
import re
import time
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

        def head(session: Session) -> Digest | None:
            with session.request(_manifest_call("HEAD", repository, reference, what)) as answer:
                if answer.status != http.HTTPStatus.OK:
                    session.refuse(what, answer)
                answer.discard()
            told = answer.header("Docker-Content-Digest")
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
                return _named_failure(session, ask)
            except _MIRROR_FAULTS:
                continue
        return _named_failure(self._own, ask)

    # --- writing ----------------------------------------------------------------------------------------------------

    def check(self) -> str:
        """Ask the registry whether it knows us ("Determining Support"); returns the identity token of a log-in, or nothing."""
        what = f"log in to {self.host}"

        def ask(session: Session) -> str:
            with session.request(Call("GET", "/v2/", what)) as answer:
                if answer.status != http.HTTPStatus.OK:
                    session.refuse(what, answer)
                answer.discard()
            if answer.media_type == "text/html":
                _not_a_registry(what, session)
            return session.identity_token

        return _named_failure(self._own, ask)

    def has_blob(self, repository: str, digest: Digest) -> bool:
        """Whether the repository has the blob ("Checking if content exists"); asked with the right to push."""
        what = f"look up blob {digest[:19]} of {repository}"

        def head(session: Session) -> bool:
            with session.request(Call("HEAD", f"/v2/{repository}/blobs/{digest}", what, _push(repository))) as answer:
                answer.discard()
            if answer.status not in {http.HTTPStatus.OK, http.HTTPStatus.NOT_FOUND}:
                session.refuse(what, answer)
            return answer.status == http.HTTPStatus.OK

        return _named_failure(self._own, head)

    def mount_blob(self, repository: str, digest: Digest, source: str) -> str | None:
        """Take over a blob from the repository `source` of the same registry ("Mounting a blob").

        None when that is done; otherwise the upload session that the registry opened instead, for `upload_blob`.
        """
        what = f"mount blob {digest[:19]} from {source} into {repository}"
        target = f"/v2/{repository}/blobs/uploads/?mount={digest.replace(':', '%3A')}&from={source.replace('/', '%2F')}"

        def mount(session: Session) -> str | None:
            with session.request(Call("POST", target, what, [*_push(repository), *_pull(source)])) as answer:
                location = answer.header("Location") or ""
                if answer.status not in {http.HTTPStatus.CREATED, http.HTTPStatus.ACCEPTED}:
                    session.refuse(what, answer)
                answer.discard()
            if answer.status == http.HTTPStatus.CREATED:
                return None
            return absolute(location, answer, what, self.host)

        return _named_failure(self._own, mount)

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
        _named_failure(self._own, lambda _: upload.send(location, sent))

    def put_manifest(self, repository: str, reference: str, media_type: str, data: bytes) -> Digest:
        """Publish a manifest at a tag or digest ("Pushing Manifests"); returns its digest."""
        what = f"push manifest {_named(self.host, repository, reference)}"
        digest = sha256_digest(data)

        def put(session: Session) -> Digest:
            target = f"/v2/{repository}/manifests/{reference}"
            call = Call("PUT", target, what, _push(repository), {"Content-Type": media_type}, data)
            with session.request(call) as answer:
                if answer.status != http.HTTPStatus.CREATED:
                    session.refuse(what, answer)
                answer.discard()
            told = answer.header("Docker-Content-Digest")
            if told is not None and told.startswith("sha256:") and told != digest:
                raise errors.DataLoss(f"cannot {what} ({self.host}): the registry stored {told[:80]!r}, not {digest}")
            return digest

        return _named_failure(self._own, put)


def _named(host: str, repository: str, reference: str) -> str:
    return f"{host}/{repository}{'@' if ':' in reference else ':'}{reference}"


def _pull(repository: str) -> list[str]:
    return [f"repository:{repository}:pull"]


def _push(repository: str) -> list[str]:
    return [f"repository:{repository}:pull,push"]


def _named_failure(session: Session, ask: Callable[[Session], T]) -> T:
    """Failures while an answer is read become errors here; those before it did in the session."""
    began = time.monotonic()
    try:
        return ask(session)
    except Failure as failure:
        session.fail("read the answer", failure, 1, began)


def _manifest_call(method: str, repository: str, reference: str, what: str) -> Call:
    headers = {"Accept": ", ".join(media_types.ACCEPT)}
    return Call(method, f"/v2/{repository}/manifests/{reference}", what, _pull(repository), headers)


def _get_manifest(session: Session, repository: str, reference: str, what: str) -> tuple[bytes, str, Digest]:
    with session.request(_manifest_call("GET", repository, reference, what)) as answer:
        if answer.status != http.HTTPStatus.OK:
            session.refuse(what, answer)
        if answer.media_type == "text/html":
            _not_a_registry(what, session)
        _check_plain(answer, what, session)
        data = answer.read(_MAX_MANIFEST)
    digest = sha256_digest(data)
    wanted = [parse_digest(reference)] if ":" in reference else []
    told = answer.header("Docker-Content-Digest")
    if told is not None:
        wanted.append(_told_digest(told, what, session))
    for expected in wanted:
        if not digest_matches(expected, data):
            raise errors.DataLoss(f"cannot {what} ({session.endpoint.registry}): its digest is {digest}, not {expected}")
    return data, answer.media_type, wanted[0] if ":" in reference else digest


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
    target = f"/v2/{repository}/tags/list"
    found: list[str] = []
    seen: set[str] = set()
    while target not in seen:
        seen.add(target)
        with session.request(Call("GET", target, what, _pull(repository))) as answer:
            if answer.status != http.HTTPStatus.OK:
                session.refuse(what, answer)
            listed = strict_json.loads(answer.read(_MAX_MANIFEST), what="list of tags")
        if isinstance(listed, dict) and listed.get("tags") is None:
            return found  # a repository without tags: Go writes null
        found += strict_json.get_str_list(listed, "tags", "list of tags")
        if len(found) > _MAX_TAGS:
            raise errors.ResourceExhausted(f"cannot {what}: more than {_MAX_TAGS} tags")
        following = _next_page(answer, session)
        if following is None:
            break
        target = following
    return found


def _next_page(answer: Answer, session: Session) -> str | None:
    """The target of the next page (RFC 8288); one on another origin is refused, for it would get our token."""
    for value in answer.headers("Link"):
        match = _NEXT.fullmatch(value)
        if match:
            origin, target = parse_url(match[1], answer.origin.url + answer.target)
            if origin != session.origin():
                raise Failure("listing the tags", f"the next page is on another origin, {origin.url}", retry=False)
            return target.removeprefix(session.endpoint.prefix)
    return None

