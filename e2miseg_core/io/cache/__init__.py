"""The cache: where copies of images lie that are made once."""
