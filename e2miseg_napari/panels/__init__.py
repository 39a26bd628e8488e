"""Dock widgets, one a module, and the parts that they are made of."""
