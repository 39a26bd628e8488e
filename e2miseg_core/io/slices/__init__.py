"""Folders of single pictures, each a slice."""
