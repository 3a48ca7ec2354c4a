"""Evidence: digests, records, journals, packs, signatures and their verification.

The lowest layer. It knows nothing of Ray, HTTP or tinygrad, so that an auditor can run it alone.
"""
