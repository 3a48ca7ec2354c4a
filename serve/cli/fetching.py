"""Brings a data set to the service and tells how far it is."""

import time
from collections.abc import Mapping
from typing import Any

from evidence.errors import SourcesExhausted, of_code
from serve.cli import units
from serve.cli.phases import Phase
from serve.client import Client

_POLL_S = 0.5


def fetch(client: Client, name: str, this: Phase) -> dict[str, Any]:
    """Fetch a data set and return its view when it is there and verified.

    Args:
        client: Where to.
        name: Of the data set.
        this: The phase that shows how far it is.

    Raises:
        NotFound: There is no such data set.
        SourcesExhausted: No source had the right bytes.
    """
    view: dict[str, Any] = client.fetch_dataset(name)["dataset"]
    while view["state"] == "fetching":
        this.doing = f"fetching {label(view)}{_share(view)}"
        time.sleep(_POLL_S)
        view = next(one for one in client.datasets()["datasets"] if one["name"] == name)
    if view["state"] != "ready":
        fault = view["error"] or {"code": SourcesExhausted.code, "detail": view["state"]}
        raise of_code(fault["code"], fault["detail"])
    return view


def describe(view: Mapping[str, Any]) -> str:
    """Return what came, in one line."""
    total = units.size(sum(file["bytes"] for file in view["files"].values()))
    return f"{label(view)}, {len(view['files'])} files, {total}, SHA-256 as recorded"


def label(view: Mapping[str, Any]) -> str:
    """Return the short name for people."""
    return str(view["name"]).upper()


def _share(view: Mapping[str, Any]) -> str:
    if not view["total_bytes"]:
        return ""
    return f", {units.size(view['fetched_bytes'])} of {units.size(view['total_bytes'])}"
