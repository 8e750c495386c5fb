"""Files: read series and masks, write images, transforms and tables, whole or not at all."""
