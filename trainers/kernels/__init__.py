"""Kernels for tinygrad's CPU device that are as fast as a good library, and the seam to them.

    ops          what models call; the one seam: tinygrad's own kernels, or the library's
    library      which library this process uses, and why
    onednn       oneDNN through ctypes: found, loaded, its primitives prepared
    openblas     OpenBLAS through ctypes, where oneDNN cannot be used
    foreign      a prepared primitive, or C source, as a kernel in tinygrad's graph
    matmul       matrix products with gradients
    convolution  convolutions with gradients
    blas, im2col products in C around OpenBLAS's, and convolutions as such
    compiled     kernels of our own in C, rows shared out over threads
    softmax, activation, normalisation    attention's weights, gelu, batch norm: one pass each
    layer_norm, pooling, cross_entropy    of rows, of 2 x 2 windows, of logits: likewise
    dispatch     a captured step as one list of calls
    search       what tinygrad's search for kernels (BEAM) chose

A kernel that fails leaves a status behind, which `foreign.require_success` raises as an error.
"""
