"""What frames show besides the head: stripes, bands, ghosts, lost signal, what goes otherwise."""
