"""PET in SUV body weight, after the pseudo-code of QIBA [1]_.

References
----------
.. [1] QIBA FDG-PET/CT, "Standardized Uptake Value (SUV) calculation: vendor-neutral
   pseudo-code", robust version, 2012.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from e2miseg_core.io.dicom.pet_tags import PetTags

__all__ = ["SuvScale", "find_suv"]

_DOSES = (1e4, 1e11)  # Bq: mice to men; less was written in another unit
_WEIGHTS = (1e-3, 700.0)  # kg
_HALF_LIVES = 12  # after more of them nothing is left to measure


@dataclass(frozen=True, slots=True, kw_only=True)
class SuvScale:
    """From the rescaled values of a PET series to what is shown.

    Attributes
    ----------
    factor : float
        1 where values stay as they are.
    name : str
        Of the channel.
    note : str
        How it came about.
    """

    factor: float
    name: str
    note: str


def find_suv(frames: Sequence[PetTags]) -> SuvScale:
    """Find the scale of a series.

    Parameters
    ----------
    frames : sequence of PetTags
        Of every file of the series, one or more.

    Returns
    -------
    SuvScale
        With a factor of 1, and the reason, where SUV cannot be computed.
    """
    first = frames[0]
    if first.units == "GML":
        if first.suv_type not in ("", "BW"):
            return _raw("g/mL", f"they are SUV of the type {_code(first.suv_type)}")
        return SuvScale(
            factor=1.0,
            name="SUV body weight",
            note="values are SUV body weight as stored (Units GML)",
        )
    if first.units == "CNTS" and first.philips_suv:
        return SuvScale(
            factor=first.philips_suv,
            name="SUV body weight",
            note=f"SUV body weight = counts x {first.philips_suv:.6g} "
            "(Philips' factor, tag 7053,1000)",
        )
    activity = 1.0
    unit = {"BQML": "Bq/mL", "CNTS": "counts"}.get(first.units, "stored values")
    if first.units == "CNTS" and first.philips_activity:
        activity = first.philips_activity
    elif first.units != "BQML":
        stated = _code(first.units) or "missing"
        return _raw(unit, f"Units are {stated}, not BQML or GML")
    return _of_activity(frames, activity, unit)


def _of_activity(frames: Sequence[PetTags], activity: float, unit: str) -> SuvScale:
    first = frames[0]
    missing = [
        name
        for name, value in (
            ("weight", first.weight),
            ("injected dose", first.dose),
            ("half-life", first.half_life),
        )
        if not value or value <= 0
    ]
    if missing:
        return _raw(unit, f"{' and '.join(missing)} missing")
    weight, dose, half_life = first.weight or 0, first.dose or 0, first.half_life or 0
    if not _DOSES[0] <= dose <= _DOSES[1]:
        return _raw(unit, f"an injected dose of {dose:g} Bq cannot be right")
    if not _WEIGHTS[0] <= weight <= _WEIGHTS[1]:
        return _raw(unit, f"a weight of {weight:g} kg cannot be right")
    if not first.is_corrected:
        return _raw(unit, "they are not corrected for attenuation and decay")
    what = f"weight {weight:g} kg, dose {dose / 1e6:.6g} MBq, half-life {half_life:g} s"
    left = dose
    if first.decay_correction == "ADMIN":
        what += ", decay corrected to the injection (ADMIN)"
    elif first.decay_correction == "START":
        delay, how = _scan_delay(frames, half_life)
        if delay is None:
            return _raw(unit, "the time from injection to scan is unknown")
        if not 0 <= delay <= _HALF_LIVES * half_life:
            minutes = delay / 60
            return _raw(unit, f"{minutes:.4g} min from injection to scan is no time")
        left = dose * 2 ** (-delay / half_life)
        what += (
            f", {delay / 60:.2f} min from injection to scan ({how}), decay corrected "
            "to the start of the scan (START)"
        )
    else:
        stated = _code(first.decay_correction) or "missing"
        return _raw(unit, f"the decay correction is {stated}, not START or ADMIN")
    factor = activity * weight * 1000 / left
    return SuvScale(
        factor=factor,
        name="SUV body weight",
        note=f"SUV body weight = {unit} x {factor:.6g} ({what})",
    )


def _scan_delay(
    frames: Sequence[PetTags], half_life: float
) -> tuple[float | None, str]:
    """Seconds from the injection to the moment that decay was corrected to."""
    first = frames[0]
    after = [
        frame.acquired_after_series
        for frame in frames
        if frame.acquired_after_series is not None
    ]
    if first.series_delay is not None and (not after or min(after) >= 0):
        return first.series_delay, "by the series' time"
    if first.ge_delay is not None:  # the series was made later, from another one
        return first.ge_delay, "by GE's scan time"
    starts = []
    for frame in frames:
        if frame.acquisition_delay is None:
            continue
        if (frame.reference_time or 0) > 0 and (frame.duration or 0) > 0:
            mean = _mean_count_time(frame.duration or 0, half_life)
            starts.append(frame.acquisition_delay - (frame.reference_time or 0) + mean)
    if starts:
        return min(starts), "by the frames' reference times"
    acquired = [
        frame.acquisition_delay
        for frame in frames
        if frame.acquisition_delay is not None
    ]
    return (min(acquired) if acquired else None), "by the first acquisition"


def _mean_count_time(duration: float, half_life: float) -> float:
    """When, within a frame, the count rate is at its mean."""
    constant = math.log(2) / half_life
    decay = constant * duration
    return math.log(decay / -math.expm1(-decay)) / constant


def _raw(unit: str, reason: str) -> SuvScale:
    return SuvScale(
        factor=1.0, name="PET", note=f"values are {unit}, not SUV: {reason}"
    )


def _code(text: str) -> str:
    """Return a coded value only where it looks like one."""
    return text if text.isalnum() and text.isupper() and len(text) <= 8 else ""
