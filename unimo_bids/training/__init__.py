"""Recipes that make the shipped weights, from label maps and synthetic scenes alone."""
