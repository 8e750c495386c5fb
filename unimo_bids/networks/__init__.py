"""Trained networks: their architectures and their weights."""
