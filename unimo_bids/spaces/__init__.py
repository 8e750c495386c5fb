"""Standard spaces: their names, their templates, and how a run is carried there."""
