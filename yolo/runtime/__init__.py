"""Exported files at work: what they say about themselves, and networks that run them."""
