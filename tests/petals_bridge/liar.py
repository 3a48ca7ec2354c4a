"""A member whose blocks compute garbage: run as `python -m tests.petals_bridge.liar SPEC`."""

import functools
import sys
from pathlib import Path
from typing import Any

from petals_bridge import client, hosting


def main() -> None:
    """Serve, and add noise to every answer of an inference."""
    honest = client.TransformerConnectionHandler.rpc_inference

    @functools.wraps(honest)
    async def rpc_inference(self: Any, requests: Any, context: Any) -> Any:
        async for answer in honest(self, requests, context):
            for tensor in answer.tensors:
                values = client.torch.frombuffer(
                    bytearray(tensor.buffer), dtype=client.torch.float32
                )
                tensor.buffer = (values + 0.5).numpy().tobytes()
            yield answer

    client.TransformerConnectionHandler.rpc_inference = rpc_inference
    hosting.main(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
