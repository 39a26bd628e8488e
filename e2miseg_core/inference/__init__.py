"""Prediction: tiles in, labels and error map out, as a stream."""

from e2miseg_core.inference.prediction import (
    Prediction,
    PredictionOptions,
    predict,
    predict_job,
)

__all__ = ["Prediction", "PredictionOptions", "predict", "predict_job"]
