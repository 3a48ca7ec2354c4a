"""Which pack an argument means, where it is, and whose key must be on it."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from evidence.errors import InvalidInput, NotFound
from evidence.log import folder, merkle, tiles, tree_head
from evidence.log.note import Verifier
from evidence.log.tree_head import SignedTreeHead
from evidence.pack import PackPaths
from evidence.signing import PublicKey, public_key_of
from evidence.subject import NOTHING_KNOWN, KnownLog
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
    home: Path | None = None
    """Of the service of this machine that the run is of."""


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
    return ANYONE if key is None else Trust(key, "the key of this service", home)


def log_of(home: Path, pack: Path) -> KnownLog:
    """Return what the home of a service knows of its log, with the proof that a pack needs."""
    key, log = home / "keys" / "log.vkey", home / "log"
    held = PackPaths(pack).seal_tree_head
    if not (key.exists() and held.exists() and (log / folder.CHECKPOINT).exists()):
        return NOTHING_KNOWN
    verifier = Verifier.parse(key.read_text(encoding="utf-8").removesuffix("\n"))
    head = tree_head.verify(folder.read_head(log), verifier)
    try:
        size = SignedTreeHead.parse(held.read_bytes()).head.size
        subtree = tiles.subtrees(head.head.size, lambda tile: folder.read_tile(log, tile.path))
        proof = merkle.consistency_proof(size, head.head.size, subtree)
    except (InvalidInput, NotFound):  # check 17 finds what is wrong with it
        proof = None
    return KnownLog(verifier=verifier, head=head, proof=proof)
