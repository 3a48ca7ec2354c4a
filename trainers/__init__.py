"""Trainers: configuration, recipes, data, models, the training loop and its checkpoints.

`config`, `recipes` and every `__init__` are light; tinygrad is imported only by the modules that
compute (`models`, `optimise`, `step`, `loop`, `predict`, `devices`).
"""
