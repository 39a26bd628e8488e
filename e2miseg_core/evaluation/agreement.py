"""Whether volumes agree over the cases: bias and limits of agreement."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Agreement", "bland_altman"]

_NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How predicted volumes differ from the reference's.

    Attributes
    ----------
    bias_ml : float
        Mean of predicted minus reference.
    limits_ml : tuple of float, or None
        Within which 95 % of the differences lie, were they normal: bias -/+ 1.96
        standard deviations. None with one case.
    absolute_ml : float
        Mean size of the difference.
    """

    bias_ml: float
    limits_ml: tuple[float, float] | None
    absolute_ml: float

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "bias_ml": self.bias_ml,
            "limits_ml": list(self.limits_ml) if self.limits_ml else None,
            "absolute_ml": self.absolute_ml,
        }


def bland_altman(
    predicted_ml: Sequence[float], reference_ml: Sequence[float]
) -> Agreement:
    """Bias and 95 % limits of agreement of volumes, at least one case [1]_.

    References
    ----------
    .. [1] J. M. Bland and D. G. Altman, "Statistical methods for assessing agreement
       between two methods of clinical measurement", The Lancet 327 (1986).
    """
    differences = np.asarray(predicted_ml, float) - np.asarray(reference_ml, float)
    bias = float(differences.mean())
    limits = None
    if differences.size > 1:
        spread = _NORMAL_95 * float(differences.std(ddof=1))
        limits = (bias - spread, bias + spread)
    return Agreement(
        bias_ml=bias, limits_ml=limits, absolute_ml=float(np.abs(differences).mean())
    )
