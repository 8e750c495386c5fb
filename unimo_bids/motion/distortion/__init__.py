"""The field that bends a head as it moves through the scanner."""
