"""The Petals bridge: a private swarm behind an allowlist, and a local block cache to fall back to.

`client.py` alone imports Petals, and lives in an environment of its own; everything else here is
pure: rules, files and formats that any Python can test.
"""
