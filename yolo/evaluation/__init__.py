"""COCO metrics and pictures."""
