"""Nipype interfaces: each reads files, calls the library once, writes files."""
