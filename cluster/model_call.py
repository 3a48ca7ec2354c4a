"""Asks a language model behind an OpenAI-compatible endpoint, for the reviewer of proposals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from evidence import canonical
from evidence.errors import ConfigError, ServiceError, Unavailable
from governance.review.assessment import Ask

TIMEOUT_S = 120.0
MAX_ANSWER_BYTES = 1 << 20

_PATH = "/chat/completions"


def asker(url: str, *, key_file: Path | None) -> Ask:
    """Return what asks the endpoint at `url`, e.g. http://127.0.0.1:8080/v1.

    Args:
        url: Base address, without `/chat/completions`.
        key_file: File with the key that the endpoint wants as a bearer token; None sends none.
    """

    def ask(body: Mapping[str, Any]) -> str:
        """Return the text of the first choice.

        Raises:
            Unavailable: The endpoint does not answer, or not as one does.
            ConfigError: The file with the key is empty.
            OSError: It cannot be read.
        """
        headers = {"content-type": "application/json", **_authorization(key_file)}
        try:
            with httpx.Client(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False) as client:
                data = _post(client, url.rstrip("/") + _PATH, canonical.encode(body), headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(f"cannot reach the language model at {url}", found=reason) from error
        return _text_of(data, url)

    return ask


def _authorization(key_file: Path | None) -> dict[str, str]:
    if key_file is None:
        return {}
    words = key_file.read_text(encoding="ascii").split()
    if len(words) != 1:
        raise ConfigError(f"{key_file}: expected one key, found {len(words)} words")
    return {"authorization": f"Bearer {words[0]}"}


def _post(client: httpx.Client, url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the body of a good answer, at most MAX_ANSWER_BYTES of it.

    Raises:
        Unavailable: It is no good answer, or too long.
        httpx.HTTPError: There is none.
    """
    data = b""
    with client.stream("POST", url, content=body, headers=headers) as answer:
        for piece in answer.iter_bytes():
            data += piece
            if len(data) > MAX_ANSWER_BYTES:
                raise Unavailable(f"{url}: the answer has more than {MAX_ANSWER_BYTES} bytes")
        if answer.status_code != httpx.codes.OK:
            raise Unavailable(f"{url}: expected status 200, found {answer.status_code}")
    return data


def _text_of(data: bytes, url: str) -> str:
    try:
        text = canonical.decode_object(data)["choices"][0]["message"]["content"]
    except (ServiceError, KeyError, IndexError, TypeError) as error:
        raise Unavailable(f"{url}: the answer is no chat completion") from error
    if not isinstance(text, str):
        raise Unavailable(f"{url}: the answer has no text")
    return text
