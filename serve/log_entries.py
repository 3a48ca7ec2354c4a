"""All entries of a service's log, as its clients get them: held against the signed tree head."""

from evidence.errors import BadProof
from evidence.log import merkle, tiles, tree_head
from evidence.log.note import Verifier
from evidence.log.tiles import Tile
from serve.client import Client


def entries_of(client: Client, verifier: Verifier) -> list[bytes]:
    """Return the entries of the present tree, in order.

    Raises:
        BadSignature: The tree head is not signed by this log.
        BadProof: The entries are not those of the tree head.
        IntegrityError: A bundle is damaged.
        ServiceError: The service refused.
    """
    head = tree_head.verify(client.log_head(), verifier).head
    bundles = [tile for tile in tiles.of_size(head.size) if tile.level is None]
    entries = [
        entry
        for tile in bundles
        for entry in tiles.split_bundle(
            client.log_tile(tile.path.removeprefix("tile/")), name=tile.path
        )
    ]
    leaves = b"".join(map(merkle.leaf_hash, entries))

    def read(tile: Tile) -> bytes:
        if tile.level == 0:
            begin = tile.index * tiles.WIDTH * len(merkle.EMPTY_ROOT)
            return leaves[begin : begin + tile.width * len(merkle.EMPTY_ROOT)]
        below = (
            Tile((tile.level or 0) - 1, tile.index * tiles.WIDTH + at) for at in range(tile.width)
        )
        return b"".join(tiles.tile_root(read(one)) for one in below)

    root = merkle.root(head.size, tiles.subtrees(head.size, read))
    if len(entries) != head.size or root != head.root:
        raise BadProof(
            f"the log's {len(entries)} entries do not give the root of its signed tree head",
            expected=head.root.hex(),
            found=root.hex(),
        )
    return entries
