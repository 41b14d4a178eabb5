"""A blob as a stream of bytes that are what their digest says (distribution-spec, "Pulling blobs"; wall W8).

Size and digest are checked while streaming: the last piece is held back until both are right, so that no consumer can take a
wrong blob for a whole one. A stream that breaks or starves goes on where it was, with `Range`.
"""

from __future__ import annotations

import hashlib
import http
import re
import time
from collections.abc import Generator, Iterator, Sequence
from typing import NoReturn

from estiba import errors
from estiba.oci.descriptor import Descriptor
from estiba.oci.digest import algorithm_of
from estiba.registry.connect import Failure
from estiba.registry.session import Call, Session
from estiba.registry.transport import Answer

_CHUNK = 256 << 10
#: How often one blob is resumed at most, whatever it brought in between.
_MAX_RESUMES = 200
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII)


class BlobStream:
    """An iterator over the verified bytes of one blob.

    Nothing is requested before the first `next`. Raises DataLoss when the bytes are not the descriptor's, Unavailable when the
    registry stops delivering, NotFound, and what authentication raises. `close` gives the connection back.
    """

    def __init__(self, session: Session, target: str, scopes: Sequence[str], descriptor: Descriptor, what: str) -> None:
        self._session = session
        self._target = target
        self._scopes = scopes
        self._size = descriptor.size
        self._digest = descriptor.digest
        self._hash = hashlib.new(algorithm_of(descriptor.digest), usedforsecurity=False)
        self._what = what
        self._offset = 0
        self._resumes = 0
        self._chunks = self._read()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        self._chunks.close()

    def _read(self) -> Generator[bytes, None, None]:
        held = b""
        fruitless = 0
        began = time.monotonic()
        while True:
            before = self._offset
            try:
                for piece in self._pieces():
                    if held:
                        yield held
                    self._hash.update(piece)
                    self._offset += len(piece)
                    held = piece
                if self._offset == self._size:
                    break
                failure = Failure("reading the blob", f"cut off after {self._offset} of {self._size} bytes")
            except Failure as caught:
                failure = caught
            fruitless = 1 if self._offset > before else fruitless + 1
            self._resumes += 1
            if not failure.retry or fruitless >= self._session.limits.attempts or self._resumes > _MAX_RESUMES:
                self._session.fail(self._what, failure, self._resumes, began)
            self._session.pause(fruitless)
        found = f"{algorithm_of(self._digest)}:{self._hash.hexdigest()}"
        if found != self._digest:
            self._refuse(f"its bytes have the digest {found}")
        if held:
            yield held

    def _pieces(self) -> Iterator[bytes]:
        """The body from the current offset on, as far as one answer brings it."""
        headers = {"Range": f"bytes={self._offset}-"} if self._offset else {}
        call = Call("GET", self._target, self._what, self._scopes, headers)
        answer = self._session.request(call)
        try:
            skip = self._check_head(answer)
            yield from self._body(answer, skip)
        finally:
            answer.close()

    def _check_head(self, answer: Answer) -> int:
        """Check status, range, length and coding; returns how many bytes of the body are known already."""
        if answer.status == http.HTTPStatus.PARTIAL_CONTENT and self._offset:
            match = _CONTENT_RANGE.fullmatch(answer.header("Content-Range") or "")
            first, last, total = match.groups() if match else ("", "", "")
            if not match or int(first) != self._offset or not self._offset <= int(last) < self._size:
                self._refuse(f"asked for the bytes from {self._offset} on, the registry sends another range")
            if total not in {"*", str(self._size)}:
                self._refuse(f"size mismatch: the descriptor says {self._size} bytes, the registry {total}")
            skip, expected = 0, int(last) - int(first) + 1
        elif answer.status == http.HTTPStatus.OK:
            skip, expected = self._offset, self._size  # Range may be ignored (RFC 9110, 14.2)
        elif answer.status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and self._offset:
            self._refuse(f"the registry has no bytes from {self._offset} on")
        elif answer.status == http.HTTPStatus.PARTIAL_CONTENT:
            self._refuse("the registry sends a range that was not asked for")
        else:
            self._session.refuse(self._what, answer)
        coding = (answer.header("Content-Encoding") or "identity").strip().lower()
        if coding != "identity":
            self._refuse("the registry sends it with a Content-Encoding that was not asked for")
        length = answer.length
        if length is not None and length != expected:
            page = ", and it is a web page" if answer.media_type == "text/html" else ""
            self._refuse(f"size mismatch: the descriptor says {expected} bytes, the registry sends {length}{page}")
        return skip

    def _body(self, answer: Answer, skip: int) -> Iterator[bytes]:
        limits = self._session.limits
        left = self._size - self._offset + skip
        window, brought = time.monotonic(), 0
        while left:
            piece = answer.read_some(min(_CHUNK, left))
            if not piece:
                return
            left -= len(piece)
            brought += len(piece)
            now = time.monotonic()
            if now - window > limits.read:
                if brought < limits.slowest * (now - window):
                    raise Failure("reading the blob", f"only {brought} bytes in {now - window:.0f} s")
                window, brought = now, 0
            if skip >= len(piece):
                skip -= len(piece)
                continue
            yield piece[skip:] if skip else piece
            skip = 0
        if answer.length is None and answer.read_some(1):
            self._refuse(f"size mismatch: the descriptor says {self._size} bytes, the registry sends more")

    def _refuse(self, cause: str) -> NoReturn:
        raise errors.DataLoss(f"cannot {self._what} ({self._session.endpoint.registry}): {cause}")
