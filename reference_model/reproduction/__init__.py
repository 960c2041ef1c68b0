"""Reproducing the reference model and the paper's tables: plans, evaluation, comparison."""
