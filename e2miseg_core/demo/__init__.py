"""The demonstration without a window: the whole loop, with a robot as annotator."""
