"""Figures of a run, one file each; drawn once, legible on light and on dark pages."""
