"""The peers of benchmarks/petals.py, in the Petals environment: Petals' own client, and no swarm.

Reads a word a line, `petals` or `local`, generates once for each and prints the tokens a second.
The first line that it prints is the seconds that joining took.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from petals_bridge import client

LENGTH = 256


def main(spec: dict[str, Any]) -> None:
    """Answer until standard input ends."""
    import petals.client.routing.sequence_manager as manager  # noqa: PLC0415 - after the names are put back
    from transformers import LlamaForCausalLM  # noqa: PLC0415

    client.torch.set_num_threads(1)

    class Identified(client.hivemind.DHT):  # type: ignore[misc]  # hivemind has no types here
        """The client's own table, with the key that the members list."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            identity = {"identity_path": spec["identity"], "check_if_identity_free": False}
            super().__init__(*arguments, **options, **identity)

    manager.DHT = Identified
    begun = time.perf_counter()
    swarm = client.DistributedLlamaForCausalLM.from_pretrained(
        spec["model"],
        initial_peers=spec["peers"],
        dht_prefix=spec["dht_prefix"],
        torch_dtype=client.torch.float32,
        show_route=False,
    )
    generate(swarm, 1)
    _say(time.perf_counter() - begun)
    models = {"petals": swarm, "local": LlamaForCausalLM.from_pretrained(spec["model"])}
    for line in sys.stdin:
        begun = time.perf_counter()
        generate(models[line.strip()], LENGTH)
        _say(LENGTH / (time.perf_counter() - begun))


def generate(model: Any, length: int) -> None:
    """Generate greedily from the begin mark."""
    start = client.torch.tensor([[1]])
    model.generate(start, max_new_tokens=length, do_sample=False, eos_token_id=None, pad_token_id=0)


def _say(value: float) -> None:
    sys.stdout.write(f"{value}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
    os._exit(0)
