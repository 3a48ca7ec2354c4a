"""The transparency log: Merkle tree, tiles, tree heads, proofs, cosignatures, witness.

A library without Ray and HTTP; docs/transparency-log.md has its bytes.
"""
