"""A small random Llama with its entry, for tests and trials where no trained model is at hand.

    python -m petals_bridge.random_model FOLDER

The same seed gives the same bytes. It says nothing sensible: its text is noise, but a certain one.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from evidence import digest
from evidence.files import write_atomic
from petals_bridge.models import ModelEntry, parse

NAME = "random-llama"
VOCABULARY = 259
"""256 bytes behind three marks."""

_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def make(folder: Path, *, seed: int = 0, hidden: int = 32) -> ModelEntry:
    """Write the model and its entry into `folder`; return the entry.

    Args:
        folder: Made if it is not there.
        seed: Of the weights.
        hidden: Width, a multiple of 8.

    Raises:
        OSError: It cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {**_CONFIG, "hidden_size": hidden, "intermediate_size": 2 * hidden}
    rng = np.random.Generator(np.random.PCG64(seed))
    files = {
        "config.json": json.dumps(config, indent=1, sort_keys=True).encode(),
        "model.safetensors": save(_weights(config, rng), metadata={"format": "pt"}),
    }
    for name, data in files.items():
        write_atomic(folder / name, data)
    text = _entry(folder, config, {name: digest.of_bytes(data) for name, data in files.items()})
    write_atomic(folder / f"{NAME}.toml", text.encode())
    return parse(text.encode(), name=f"{NAME}.toml")


def _weights(config: dict[str, Any], rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
    width, inner = config["hidden_size"], config["intermediate_size"]
    kv = width // config["num_attention_heads"] * config["num_key_value_heads"]
    block = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (kv, width),
        "self_attn.v_proj": (kv, width),
        "self_attn.o_proj": (width, width),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner),
    }
    shapes = {"model.embed_tokens": (VOCABULARY, width), "lm_head": (VOCABULARY, width)}
    for i in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{i}.{name}": shape for name, shape in block.items()}
    weights = {
        f"{name}.weight": (rng.standard_normal(shape) / np.sqrt(shape[1])).astype(np.float32)
        for name, shape in shapes.items()
    }
    norms = ["model.norm"] + [
        f"model.layers.{i}.{name}"
        for i in range(config["num_hidden_layers"])
        for name in ("input_layernorm", "post_attention_layernorm")
    ]
    return weights | {f"{name}.weight": np.ones(width, dtype=np.float32) for name in norms}


def _entry(folder: Path, config: dict[str, Any], digests: dict[str, str]) -> str:
    files = "\n".join(f'"{name}" = "{value}"' for name, value in sorted(digests.items()))
    return f"""name = "{NAME}"
architecture = "llama"
source = "{folder.resolve()}"
revision = "made"
dht_prefix = "{NAME}-{digests["model.safetensors"][:8]}"
blocks = {config["num_hidden_layers"]}
context = {config["max_position_embeddings"]}
licence = "Apache-2.0"
approved = true

[files]
{files}

[tokenizer]
kind = "bytes"
bos = 1
eos = 2
"""


if __name__ == "__main__":
    sys.stdout.write(f"{make(Path(sys.argv[1])).name}\n")
