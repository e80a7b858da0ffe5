"""Geometry: pure functions on boxes."""
