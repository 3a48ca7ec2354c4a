"""Benchmarks: ratios to a peer that is measured in the same run, and the claims of the docs.

Not part of what is installed. `python -m benchmarks` lists and runs them; `python -m
benchmarks.claims` derives the figures of README and docs again.

    outcome            rows, files, the machine; one table of all
    peers              the environment of the peers that the service does not depend on
    both_ways          runs by the service and by the bare script, for three of the benchmarks
    streams            many SSE readers in one process, that only count
    journal_tail       the reader that feeds both servers of `fanout`
    fanout_ours, fanout_peer, metrics_ours, metrics_peer    programs that the benchmarks start
    step_ours, step_torch    one training step of `workloads.toml`, by hand: see their docstrings
"""
