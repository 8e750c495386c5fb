"""Motion while a frame is acquired: a trajectory through all slices, and frames made from them."""
