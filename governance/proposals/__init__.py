"""Proposals: what is to be changed, who passed it, and what that allows."""
