"""Which pack an argument means, where it is, and whose key must be on it."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from evidence.errors import InvalidInput, NotFound
from evidence.signing import PublicKey, public_key_of
from serve import local
from serve.cli import connection
from serve.cli.options import Options, require_address

_RUN_ID = re.compile(r"[0-9a-f]{12}")
_ADDRESS = re.compile(r"(https?://[^/?#]+)/(?:[^?#]*/)?runs/([0-9a-f]{12})(?:/evidence)?/?")
_SERVICE_KEY = Path("keys") / "service.key"


@dataclass(frozen=True, slots=True)
class Trust:
    """Which key must have signed."""

    key: PublicKey | None
    """None accepts any."""
    why: str
    """What to call the key that signed."""


ANYONE = Trust(None, "a key that nothing here vouches for; --public-key names one")
"""Where nobody said whom to trust."""


def locate(given: Options, pack: str, *, scratch: Path) -> tuple[Path, Trust]:
    """Return the path of the pack that an argument names, and whose key must be on it.

    A run of another service is downloaded to `scratch`.

    Raises:
        InvalidInput: It names none.
        NotFound: There is none.
    """
    if not pack:  # else it would be the present folder
        raise InvalidInput("PACK: expected a run folder, a zip or a run's id, found nothing")
    if pack.startswith(("http://", "https://")):
        given, pack = _at_address(given, pack)
    elif Path(pack).exists() or not _RUN_ID.fullmatch(pack):
        return Path(pack), ANYONE
    if given.url is not None:
        path = scratch / f"{pack}.zip"
        with connection.connect(given) as client:
            client.download_evidence(pack, path)
        return path, ANYONE
    settings = connection.settings()
    service = local.find(settings.home)
    roots = [settings.evidence_root, *([Path(service.evidence_root)] if service else [])]
    for root in roots:
        path = root / "training" / pack
        if path.is_dir():
            return path, _trust_in_service(settings.home)
    raise NotFound(f"there is no run {pack} below {roots[0]}", found=pack)


def _at_address(given: Options, address: str) -> tuple[Options, str]:
    """Return the service and the id of a run's address; a token goes to no other service."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise InvalidInput(
            f"PACK: expected an address such as http://HOST/api/training/runs/RUN, "
            f"found {address!r:.200}"
        )
    url, run_id = match.groups()
    if given.url is not None and given.url.rstrip("/") != url:
        raise InvalidInput(f"PACK: expected a run of --url {given.url}, found one of {url}")
    require_address(url, given.token_file)
    return replace(given, url=url), run_id


def _trust_in_service(home: Path) -> Trust:
    """Return trust in the key of the service of a home, if it has one."""
    key = public_key_of(home / _SERVICE_KEY)
    return ANYONE if key is None else Trust(key, "the key of this service")
