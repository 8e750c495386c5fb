"""Register images: levels, targets, Gauss–Newton, search, two volumes."""
