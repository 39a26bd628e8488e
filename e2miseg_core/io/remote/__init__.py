"""Images at URLs."""
