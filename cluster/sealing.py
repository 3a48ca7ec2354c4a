"""Sealing a run: summary files, manifest, signature. Done again after a crash, same bytes."""

from cluster.run_folder import RunFolder
from evidence import canonical, files
from evidence.seal import finalise
from evidence.signing import SigningKey


def seal(folder: RunFolder, key: SigningKey) -> None:
    """Make the pack of a run that has ended final.

    Raises:
        StorageFull: The disk took no more; the folder is as unsealed as before.
    """
    paths = folder.paths
    if paths.provenance.exists():  # else no attempt was made
        begun = canonical.decode_object(paths.provenance.read_bytes())
        ended = {"state": folder.summary.state, "ended": folder.summary.ended}
        files.write_atomic(paths.provenance, canonical.encode({**begun, **ended}))
    finalise(paths.root, key, run_id=folder.run_id)
