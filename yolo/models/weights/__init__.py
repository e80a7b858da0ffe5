"""Weights from anywhere: files read without running anything, names translated to ours, a network filled, a report."""
