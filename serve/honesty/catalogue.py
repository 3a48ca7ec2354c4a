"""All rules of the honesty scan; docs/honesty.md has the same table."""

from serve.honesty import gaps, metrics, pretences

RULES = (*metrics.RULES, *pretences.RULES, *gaps.RULES)
"""Every rule."""
