"""The cluster: runs and their states, the one writer, placement, and the Ray actors around them.

Rules live in plain modules (`states`, `limits`, `placement`, `run_folder`, `registry`, `manager`);
`manager_actor`, `trainer_actor` and `launcher` are the thin Ray shells that call them.
"""
