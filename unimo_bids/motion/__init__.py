"""Rigid head motion of a 4D series: estimate it, judge it, undo it."""
