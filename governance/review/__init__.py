"""The built-in reviewer: rules over the evidence that a proposal cites, and what a model adds."""
