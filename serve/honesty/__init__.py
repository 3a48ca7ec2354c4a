"""The honesty scan: a static reading of the shipped packages, from which `mocks` is derived.

    source        one file, parsed: its nodes, the names they resolve to, the definition around them
    origin        where the value of an expression comes from: numbers, a counter, chance, elsewhere
    claims        where a measure (loss, accuracy, ...) is given a value
    rule          what a rule is
    metrics       rules about measures
    pretences     rules about mocks and switches for them
    gaps          rules about code that does nothing, or waits
    catalogue     all rules
    exceptions    findings that are allowed, with reasons, from exceptions.toml
    scan          the scan itself

It imports nothing of what it reads. docs/honesty.md tells what it proves and what it cannot.
"""
