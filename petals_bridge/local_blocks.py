"""A model's parts on this machine: embedding, head, and blocks out of the cache.

Llama's only. The blocks are Petals' own, so that they compute what a peer's do.
"""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from evidence.errors import InvalidInput
from petals_bridge.block_cache import BlockCache, BlockId
from petals_bridge.client import DistributedLlamaConfig
from petals_bridge.models import ModelEntry

_EMBEDDING = "model.embed_tokens.weight"
_NORM = "model.norm.weight"
_HEAD = "lm_head.weight"


class LocalModel:
    """What of a model is always here: its embedding, last norm and head.

    Args:
        entry: The model.
        folder: Its files, which were checked.
        cache: Where its blocks are kept.

    Raises:
        InvalidInput: A tensor is missing.
    """

    def __init__(self, entry: ModelEntry, folder: Path, cache: BlockCache) -> None:
        self.entry = entry
        self._folder = folder
        self._cache = cache
        self.config = DistributedLlamaConfig.from_pretrained(
            str(folder), dht_prefix=entry.dht_prefix
        )
        self._epsilon = float(self.config.rms_norm_eps)
        tied = {_HEAD: _EMBEDDING} if self.config.tie_word_embeddings else {}
        wanted = [_EMBEDDING, _NORM, *([] if tied else [_HEAD])]
        found = {name: value.float() for name, value in self._tensors(wanted.__contains__).items()}
        missing = [name for name in wanted if name not in found]
        if missing:
            raise InvalidInput(f"model {entry.name}: no tensor {missing[0]}")
        self._embedding, self._norm = found[_EMBEDDING], found[_NORM]
        self._head = found[tied.get(_HEAD, _HEAD)]
        self._blocks: dict[int, torch.nn.Module] = {}
        self._turn = threading.Lock()

    def embed(self, tokens: Sequence[int]) -> torch.Tensor:
        """Return the first hidden states, shape (1, T, D), float32."""
        return torch.nn.functional.embedding(torch.tensor([list(tokens)]), self._embedding)

    def logits(self, hidden: torch.Tensor) -> np.ndarray[Any, Any]:
        """Return the logits of the last position, shape (V,), float32.

        Source of the norm: Zhang and Sennrich 2019, arXiv:1910.07467, as Llama applies it.
        """
        last = hidden[0, -1:].float()
        variance = last.pow(2).mean(-1, keepdim=True)
        normed = self._norm * (last * torch.rsqrt(variance + self._epsilon))
        result: np.ndarray[Any, Any] = torch.nn.functional.linear(normed, self._head)[0].numpy()
        return result

    def cached(self) -> frozenset[int]:
        """Return which blocks are in the cache."""
        return self._cache.indices(self.entry.digest, blocks=self.entry.blocks)

    def warm(self, blocks: Sequence[int]) -> None:
        """Put blocks into the cache, out of the model's files.

        Raises:
            StorageFull: They do not fit.
        """
        for index in blocks:
            block = BlockId(self.entry.digest, index)
            self._cache.load_or_fetch(block, partial(self._block_bytes, index))

    def block(self, index: int) -> torch.nn.Module:
        """Return a block, out of the cache; it stays pinned while this model is loaded.

        Raises:
            NotFound: It is not in the cache.
            StorageFull: It was damaged, and there is no space to keep it again.
        """
        with self._turn:
            if index not in self._blocks:
                self._blocks[index] = self._load(BlockId(self.entry.digest, index))
            return self._blocks[index]

    def _load(self, block: BlockId) -> torch.nn.Module:
        data = self._cache.load_or_fetch(block, partial(self._block_bytes, block.index))
        made = self.config.block_class(self.config)
        made.load_state_dict(load_tensors(data), strict=False)
        self._cache.pin(block)
        loaded: torch.nn.Module = made.float().requires_grad_(False).eval()
        return loaded

    def forget_blocks(self) -> None:
        """Unload the blocks, so that they may be evicted."""
        with self._turn:
            for index in list(self._blocks):
                del self._blocks[index]
                self._cache.unpin(BlockId(self.entry.digest, index))

    def _block_bytes(self, index: int) -> bytes:
        prefix = f"{self.config.block_prefix}.{index}."
        tensors = self._tensors(lambda name: name.startswith(prefix))
        if not tensors:
            raise InvalidInput(f"model {self.entry.name}: no tensors of block {index}")
        return save_tensors({name[len(prefix) :]: value for name, value in tensors.items()})

    def _tensors(self, is_wanted: Callable[[str], bool]) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        for name in self.entry.weight_files:
            with safe_open(str(self._folder / name), framework="pt") as file:
                found |= {key: file.get_tensor(key) for key in file.keys() if is_wanted(key)}  # noqa: SIM118 - not a dict
        return found


class LocalSession:
    """A stretch of blocks with its attention cache, on this machine.

    Args:
        model: The model.
        begin: First block.
        end: Block behind the last one.

    Raises:
        NotFound: A block is not in the cache.
    """

    peer_id = None

    def __init__(self, model: LocalModel, begin: int, end: int) -> None:
        self._blocks = [model.block(index) for index in range(begin, end)]
        self._past: list[Any] = [None] * len(self._blocks)

    def step(self, hidden: torch.Tensor) -> torch.Tensor:
        """Compute further positions; shape (1, T, D) in and out."""
        with torch.inference_mode():
            for i, block in enumerate(self._blocks):
                hidden, self._past[i] = block(hidden, layer_past=self._past[i], use_cache=True)
        return hidden

    def close(self) -> None:
        """Let go of the attention cache."""
        self._past = []
