"""Geometry: rigid motions, voxel grids and what lies between the voxels.

Poses are 4×4 matrices in RAS mm that map reference space to the moving volume. Images are torch
tensors ``(..., X, Y, Z)`` in the index order of the file; a voxel's centre is its index.
"""
