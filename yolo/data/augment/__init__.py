"""Augmentation: one pipeline."""
