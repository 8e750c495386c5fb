"""Nipype workflows: which step follows which. Each is a pure function of its arguments."""
