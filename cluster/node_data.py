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


def require_dataset(name: str, settings: Settings) -> Data:
    """Return a data set whose files were verified on this node.

    Raises:
        DigestMismatch: A file has other bytes than published.
    """
    if store.missing(name, settings.cache):
        files = cast("dict[str, bytes]", ray.get(find_manager().dataset_files.remote(name)))
        for file, data in files.items():
            store.admit(name, file, data, cache=settings.cache, source="the manager")
    return load(name, settings.cache)
