"""Evaluation: which weights are evaluated, and who judges them."""
