"""Uploading a blob (distribution-spec, "Pushing blobs"): in one piece, or in chunks when it is large.

The bytes come from a seekable file, so that what broke can be sent again. `Location` is used as it is given; on another origin
than the registry's it gets no credentials (wall W9, in `session`).
"""

from __future__ import annotations

import http
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO

from estiba import errors
from estiba.oci.digest import Digest
from estiba.registry.connect import Failure
from estiba.registry.session import Call, Session
from estiba.registry.transport import Answer, parse_url

#: Up to this size a blob goes in one PUT; larger ones in chunks of it, so that a break costs one chunk.
CHUNK = 64 << 20
_OCTETS = "application/octet-stream"
#: Told the number of bytes that have been sent so far.
Sent = Callable[[int], None]


class Upload:
    """One blob on its way into `repository`.

    Parameters: `session`; `scopes` of the token; `digest` and `size` of what `file` holds from its start; `chunk` in bytes.
    """

    def __init__(
        self,
        session: Session,
        repository: str,
        scopes: Sequence[str],
        digest: Digest,
        size: int,
        *,
        file: BinaryIO,
        chunk: int = CHUNK,
    ) -> None:
        self._session = session
        self._base = f"/v2/{repository}/blobs/uploads/"
        self._scopes = scopes
        self._digest = digest
        self._size = size
        self._file = file
        self._chunk = chunk
        self._what = f"upload blob {digest[:19]} to {repository}"

    def send(self, location: str | None = None, sent: Sent | None = None) -> None:
        """Upload; `location` is that of an upload session which a refused mount has opened already.

        Raises DataLoss when the registry received something else, PermissionDenied, Unauthenticated, Unavailable.
        """
        began = time.monotonic()
        attempts = self._session.limits.attempts
        for tried in range(1, attempts + 1):
            try:
                self._send(location or self._begin(), sent)
            except Failure as failure:
                if not failure.retry or tried == attempts:
                    self._session.fail(self._what, failure, tried, began)
                self._session.pause(tried)
                location = None
            else:
                return

    def _begin(self) -> str:
        answer = self._session.request(Call("POST", self._base, self._what, self._scopes))
        return self._location(answer, http.HTTPStatus.ACCEPTED)

    def _send(self, location: str, sent: Sent | None) -> None:
        if self._size <= self._chunk:
            self._finish(location, whole=True)
        else:
            self._finish(self._send_chunks(location), whole=False)
        if sent is not None:
            sent(self._size)

    def _send_chunks(self, location: str) -> str:
        offset = 0
        while offset < self._size:
            length = min(self._chunk, self._size - offset)
            headers = {"Content-Type": _OCTETS, "Content-Range": f"{offset}-{offset + length - 1}"}
            answer = self._put("PATCH", location, headers, offset, length)
            location = self._location(answer, http.HTTPStatus.ACCEPTED)
            offset += length
        return location

    def _finish(self, location: str, *, whole: bool) -> None:
        target = location + ("&" if "?" in location else "?") + f"digest={self._digest.replace(':', '%3A')}"
        headers = {"Content-Type": _OCTETS} if whole else {}
        with self._put("PUT", target, headers, 0, self._size if whole else 0) as answer:
            if answer.status != http.HTTPStatus.CREATED:
                self._check(answer)
            told = answer.header("Docker-Content-Digest")
            answer.discard()
        if told is not None and told != self._digest:
            raise errors.DataLoss(f"cannot {self._what} ({self._session.endpoint.registry}): the registry stored {told[:80]!r}")

    def _put(self, method: str, target: str, headers: dict[str, str], start: int, length: int) -> Answer:
        """One attempt: a part that broke may have arrived, so the whole blob starts anew rather than this request."""
        call = Call(method, target, self._what, self._scopes, headers, self._file, start, length)
        try:
            return self._session.request(call, attempts=1)
        except errors.Unavailable as error:
            if isinstance(error.__cause__, Failure):
                raise error.__cause__ from None
            raise

    def _location(self, answer: Answer, wanted: int) -> str:
        with answer:
            if answer.status != wanted:
                self._check(answer)
            text = answer.header("Location") or ""
            answer.discard()
        return absolute(text, answer, self._what, self._session.endpoint.registry)

    def _check(self, answer: Answer) -> None:
        # The upload session is gone or out of step (404, 416): a new one may do.
        if answer.status in {http.HTTPStatus.NOT_FOUND, http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE} and self._began(answer):
            answer.discard()
            raise Failure("sending the blob", f"the registry has lost the upload (answer {answer.status})")
        self._session.refuse(self._what, answer)

    def _began(self, answer: Answer) -> bool:
        return answer.method != "POST"


def absolute(location: str, answer: Answer, what: str, registry: str) -> str:
    """The absolute URL of a `Location`; Unavailable when there is none, or when it leads from https to http."""
    try:
        if not location:
            raise ValueError("no Location")
        origin, target = parse_url(location, answer.origin.url + answer.target)
    except ValueError:
        raise errors.Unavailable(f"cannot {what} ({registry}): its answer has no valid Location") from None
    if answer.origin.scheme == "https" and origin.scheme != "https":
        raise errors.Unavailable(f"cannot {what} ({registry}): its Location leads from https to {origin.url}")
    return origin.url + target
