"""Data on a trainer's node: from its own cache, else from the manager's, through Ray.

No shared file system is assumed. What comes from the manager is checked by SHA-256 like any other
source before it is believed.
"""

from typing import cast

import ray

from cluster.directory import find_manager
from cluster.settings import Settings
from trainers.data import store
from trainers.data.load import Data, load
from trainers.data.store import Entry


def require_dataset(name: str, settings: Settings, *, own: Entry | None = None) -> Data:
    """Return a data set whose files were verified on this node; `own` as for `catalog.entry`.

    Raises:
        DigestMismatch: A file has other bytes than published.
    """
    if store.missing(name, settings.cache, own=own):
        files = cast("dict[str, bytes]", ray.get(find_manager().dataset_files.remote(name)))
        for file, data in files.items():
            store.admit(name, file, data, cache=settings.cache, source="the manager", own=own)
    return load(name, settings.cache, own=own)
