"""Accuracy and speed of rigid motion estimation, side by side with peers, on known truth.

``python -m benchmarks list`` shows what can be run; `benchmarks.__main__` has the commands.
"""
