"""Frames whose contrast changes, and poses that do not follow it."""
