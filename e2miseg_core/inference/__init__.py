"""Prediction: tiles in, labels and error map out, as a stream."""
