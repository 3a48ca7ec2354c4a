"""What answers must look like: the OpenAPI document that this checkout makes, and no other."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

from jsonschema import Draft202012Validator

from evidence import canonical
from evidence.errors import InvalidInput, Unavailable

JSON = "application/json"
PROBLEM = "application/problem+json"

_ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT_S = 120.0
_MOST_OF_AN_ANSWER = 5
_UNDOCUMENTED = {"/api/openapi.json": JSON}
"""Routes that the document itself leaves out, and the media type of their answer."""


@dataclass(frozen=True, slots=True)
class Breach:
    """Where an answer is not what the contract says."""

    field: str
    """JSON pointer, `status` or `content-type`."""
    expected: str
    found: str


class Contract:
    """The routes of the API and the schemas of their answers.

    Args:
        document: OpenAPI 3.1, whose schemas are JSON Schema 2020-12.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self._validators: dict[tuple[str, str, str], Draft202012Validator] = {}

    @classmethod
    def of_this_checkout(cls) -> Self:
        """Return the contract that the code here makes.

        Raises:
            Unavailable: The process that makes it failed.
        """
        command = [sys.executable, "-m", "serve.probe"]
        try:
            done = subprocess.run(
                command, cwd=_ROOT, capture_output=True, timeout=_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"the OpenAPI document of this checkout: {error}"[:300]) from error
        if done.returncode != 0:
            last = (done.stderr.decode("utf-8", "replace").splitlines() or ["nothing"])[-1]
            raise Unavailable(f"the OpenAPI document of this checkout: {last[:300]}")
        return cls(canonical.decode_object(done.stdout))

    @property
    def get_routes(self) -> list[str]:
        """The path of every GET route, as OpenAPI writes it."""
        documented = [path for path, methods in self.document["paths"].items() if "get" in methods]
        return sorted([*documented, *_UNDOCUMENTED])

    def media_types(self, method: str, route: str, status: int) -> list[str]:
        """Return what an answer may be, without parameters; nothing where it has no body.

        Raises:
            KeyError: The contract has no such route or status.
        """
        if route in _UNDOCUMENTED and status == 200:  # noqa: PLR2004 - HTTP
            return [_UNDOCUMENTED[route]]
        return sorted(_bare(name) for name in self._content(method, route, status))

    def breaches(
        self, method: str, route: str, *, status: int, content_type: str, body: bytes
    ) -> Iterator[Breach]:
        """Yield what an answer breaks: status, media type, then its JSON against the schema."""
        try:
            allowed = self.media_types(method, route, status)
        except KeyError:
            yield Breach("status", f"one that {method} {route} documents", str(status))
            return
        media = _bare(content_type)
        if not allowed:
            if body:
                yield Breach("", "no body", f"{len(body)} bytes")
        elif media not in allowed:
            yield Breach("content-type", " or ".join(allowed), content_type or "none")
        elif media in {JSON, PROBLEM}:
            yield from self._of_json(method, route, status, media, body)

    def _of_json(
        self, method: str, route: str, status: int, media: str, body: bytes
    ) -> Iterator[Breach]:
        try:
            value = canonical.decode(body)
        except InvalidInput as error:
            yield Breach("", "strict JSON", error.detail)
            return
        validator = self._validator(method, route, status, media)
        for one in islice(validator.iter_errors(value), _MOST_OF_AN_ANSWER):
            pointer = "".join(f"/{part}" for part in one.absolute_path)
            yield Breach(pointer, f"{one.validator}: {one.validator_value}", one.message)

    def _validator(self, method: str, route: str, status: int, media: str) -> Draft202012Validator:
        key = (f"{method} {route}", str(status), media)
        if key not in self._validators:
            content = {_bare(name): of for name, of in self._content(method, route, status).items()}
            schema = content.get(media, {}).get("schema", {})
            whole = {**schema, "components": self.document["components"]}
            self._validators[key] = Draft202012Validator(whole)
        return self._validators[key]

    def _content(self, method: str, route: str, status: int) -> dict[str, Any]:
        if route in _UNDOCUMENTED:
            return {}
        operation = self.document["paths"][route][method.lower()]
        content: dict[str, Any] = operation["responses"][str(status)].get("content", {})
        return content


def _bare(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()
