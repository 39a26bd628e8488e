"""Formats of other libraries, read once in a guarded child process."""
