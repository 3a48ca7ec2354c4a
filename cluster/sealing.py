"""Sealing a run: summary files, manifest, signature, proofs. May be done again after a crash.

And what is sealed already while it goes on: that witnesses saw its commitment.
"""

from collections.abc import Mapping

from cluster.notary import Notary
from cluster.run_folder import RunFolder
from evidence import canonical, files, model_signature, seal
from evidence.pack import checkpoint_name
from evidence.seal import finalise


def seal_run(folder: RunFolder, notary: Notary) -> Mapping[str, str]:
    """Make the pack of a run that has ended final; return which witnesses did not cosign, and why.

    Its seal goes into the log; a run that was committed to gets the proofs of it, too.

    Raises:
        StorageFull: The disk took no more; the folder is as unsealed as before.
    """
    paths = folder.paths
    if paths.provenance.exists():  # else no attempt was made
        begun = canonical.decode_object(paths.provenance.read_bytes())
        ended = {"state": folder.summary.state, "ended": folder.summary.ended}
        files.write_atomic(paths.provenance, canonical.encode({**begun, **ended}))
    folder.verdicts.mend()
    folder.records.mend()
    if folder.records.lines:
        _sign_models(folder, notary)
    else:
        folder.verdicts.put_away()
    finalise(paths.root, notary.keyring.key, run_id=folder.run_id, authority=notary.authority)
    entries = [*folder.verdicts.lines, *folder.records.lines, paths.seal_envelope.read_bytes()]
    if folder.records.lines:
        proof = notary.prove(entries)
        seal.prove(paths.root, tree_head=proof.tree_head, inclusion=proof.inclusion)
        return proof.absent
    notary.enter(entries)
    return {}


def witness_beginning(folder: RunFolder, notary: Notary) -> bytes | None:
    """Ask the witnesses about the run's commitment; return what `keep_beginning` keeps, or None.

    Blocks as long as they take. None where it is kept already, or where nobody cosigned.

    Raises:
        StorageFull: There is no space.
    """
    if not folder.records.lines or folder.paths.seal_beginning.exists():
        return None
    return notary.witnessed(folder.records.lines[0])


def keep_beginning(folder: RunFolder, proof: bytes) -> None:
    """Put the proof that witnesses saw the commitment into the folder of a run that goes on.

    Raises:
        StorageFull: There is no space.
    """
    folder.paths.seal.mkdir(exist_ok=True)
    files.write_atomic(folder.paths.seal_beginning, proof)


def _sign_models(folder: RunFolder, notary: Notary) -> None:
    """Sign the folder of each checkpoint whose bytes are kept."""
    for step, record in folder.summary.checkpoints.items():
        name = checkpoint_name(step)
        digests = {file: held.sha256 for file, held in record.files.items()}
        target = folder.paths.checkpoints / name / model_signature.FILE
        files.write_atomic(target, notary.model_key.sign(name, digests))
