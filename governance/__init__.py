"""Data governance: which data a run may train on, and what has to be approved first."""
