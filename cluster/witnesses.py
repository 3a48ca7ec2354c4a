"""Asks a witness to cosign a tree head, over HTTP. Source: C2SP tlog-witness.

Nothing that a witness answers is believed: its cosignature is verified, what it sends is bounded in
bytes and in time.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from evidence.errors import (
    BadProof,
    BadSignature,
    ConfigError,
    Conflict,
    InvalidInput,
    NotFound,
    ServiceError,
    Unavailable,
)  # fmt: skip
from evidence.log import cosignature
from evidence.log.merkle import MAX_SIZE
from evidence.log.note import KeyType, Note, SignatureLine, Verifier
from evidence.log.tree_head import SignedTreeHead
from evidence.log.witness import write_submission

PATH = "/add-checkpoint"
"""Below a witness's address."""

SIZE_TYPE = "text/x.tlog.size"
"""Content type of a size that a witness answers with."""

MAX_ANSWER_BYTES = 1 << 16
"""A longer answer is refused."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness that is asked."""

    verifier: Verifier
    """Its key, type 0x04."""
    url: str
    """Its address, http or https."""


def read_list(path: Path) -> list[Witness]:
    """Return the witnesses of a file with a line `VERIFIER_KEY URL` for each.

    Raises:
        ConfigError: A line is malformed; it is named.
        OSError: The file cannot be read.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        key, is_there, url = line.partition(" ")
        try:
            verifier = Verifier.parse(key)
        except InvalidInput as error:
            raise ConfigError(f"{path.name}, line {number}: {error.detail}") from error
        if not is_there or not url.startswith(("http://", "https://")):
            raise ConfigError(
                f"{path.name}, line {number}: expected VERIFIER_KEY URL, found {line[:100]!r}"
            )
        if verifier.kind is not KeyType.COSIGNATURE:
            raise ConfigError(f"{path.name}, line {number}: expected the key of a witness")
        found.append(Witness(verifier, url))
    return found


Prove = Callable[[int, int], Sequence[bytes]]
"""Returns the consistency proof of two sizes: prove(old_size, size)."""

_ATTEMPTS = 3
_OF_A_SIZE = re.compile(r"(0|[1-9][0-9]{0,18})\n", re.ASCII)


def ask(
    url: str,
    witness: Verifier,
    signed: bytes,
    prove: Prove,
    *,
    old_size: int = 0,
    timeout_s: float = 5.0,
) -> list[SignatureLine]:
    """Return the cosignatures by a witness on a tree head, verified; one or more.

    Args:
        url: Address of the witness, e.g. http://127.0.0.1:8300.
        witness: Its key, which it is held against.
        signed: The tree head, signed by the log.
        prove: Makes the consistency proof.
        old_size: What the witness is thought to be at; it says so itself where that is wrong.
        timeout_s: Most seconds for all of it, to within one wait of as long.

    Raises:
        Unavailable: It does not answer, not in time, or not as a witness does.
        NotFound: It does not watch this log.
        BadSignature: It does not take the log's signature, or its own does not verify.
        Conflict: It has seen a later tree head, or another one of this size.
        BadProof: It does not take the proof.
    """
    head = SignedTreeHead.parse(signed).head
    deadline = time.monotonic() + timeout_s
    with httpx.Client(timeout=timeout_s, trust_env=False, follow_redirects=False) as client:
        for _ in range(_ATTEMPTS):
            body = write_submission(old_size, prove(old_size, head.size), signed)
            status, kind, answer = _post(client, url, body, deadline)
            if status == httpx.codes.OK:
                return _verified(answer, signed, witness)
            if status != httpx.codes.CONFLICT:
                raise _refused(url, status, answer)
            old_size = _next_size(url, kind, answer, asked=old_size, most=head.size)
    raise Conflict(f"{url}: other submissions of this log come in between")


def _post(client: httpx.Client, url: str, body: bytes, deadline: float) -> tuple[int, str, bytes]:
    """Return status, content type and body of an answer.

    Raises:
        Unavailable: There is none within the deadline, or it is too long.
    """
    answer = b""
    try:
        with client.stream("POST", url.rstrip("/") + PATH, content=body) as response:
            for piece in response.iter_raw():
                answer += piece
                if len(answer) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
                    raise Unavailable(f"{url}: the answer takes too long, or too many bytes")
            return response.status_code, response.headers.get("content-type", ""), answer
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise Unavailable(f"cannot reach the witness at {url}", found=reason) from error


def _verified(answer: bytes, signed: bytes, witness: Verifier) -> list[SignatureLine]:
    """Return the lines by the witness's key; others are passed over."""
    try:
        lines = [line for line in cosignature.read_lines(answer) if line.is_by(witness)]
    except InvalidInput as error:
        raise BadSignature(
            f"{witness.name} answered with no cosignature: {error.detail}"
        ) from error
    cosignature.require_cosigned(Note(Note.parse(signed).text, tuple(lines)), witness)
    return lines


def _next_size(url: str, kind: str, answer: bytes, *, asked: int, most: int) -> int:
    """Return the size that a witness says it is at.

    Raises:
        Conflict: It is at a later one, or at this one with another root.
        Unavailable: It says no size.
    """
    found = _OF_A_SIZE.fullmatch(answer.decode("ascii", "replace"))
    if kind != SIZE_TYPE or found is None or int(found[1]) >= MAX_SIZE:
        raise Unavailable(f"{url}: expected a size, found {answer[:40]!r}")
    size = int(found[1])
    if size > most:
        raise Conflict(
            f"{url}: the witness has seen {size} entries, more than the {most} of this tree head",
            expected=f"at least {size}",
            found=str(most),
        )
    if size == asked:
        raise Conflict(f"{url}: the witness has seen another root of {size} entries")
    return size


def _refused(url: str, status: int, answer: bytes) -> ServiceError:
    told = answer.decode("utf-8", "replace").strip()[:200]
    kinds: dict[int, type[ServiceError]] = {
        httpx.codes.FORBIDDEN: BadSignature,
        httpx.codes.NOT_FOUND: NotFound,
        httpx.codes.UNPROCESSABLE_ENTITY: BadProof,
    }
    return kinds.get(status, Unavailable)(f"{url}: the witness answered {status}: {told}")
