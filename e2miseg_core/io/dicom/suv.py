"""PET in SUV body weight, after the pseudo-code of QIBA [1]_.

References
----------
.. [1] QIBA FDG-PET/CT, "Standardized Uptake Value (SUV) calculation: vendor-neutral
   pseudo-code", robust version, 2012.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from e2miseg_core.io.dicom.pet_tags import Delay, PetTags

__all__ = ["SuvScale", "find_suv"]

_DOSES = (1e4, 1e11)  # Bq: mice to men; less was written in another unit
_WEIGHTS = (1e-3, 700.0)  # kg
_HALF_LIVES = 12  # after more of them nothing is left to measure
# Where no date is stated, the injection is taken to be of the same day or night: nobody
# waits longer with a nuclide that decays so soon, and with others one waits for days.
_UNDATED_DELAY, _UNDATED_HALF_LIFE = 12 * 3600.0, 6 * 3600.0
_SAME_DELAY = 1.0  # s
_UNITS = {"BQML": "Bq/mL", "CNTS": "counts"}
_AGREEING = {  # over all frames, and what they are called
    "weight": "weights",
    "dose": "injected doses",
    "half_life": "half-lives",
    "decay_correction": "corrections",
    "is_corrected": "corrections",
}


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
    unit = _UNITS.get(first.units, "stored values")
    if differing := _differing(frames, {"units": "units", "suv_type": "types of SUV"}):
        return _raw("stored values", differing)
    if first.units == "GML":
        return _stored(first)
    factors = {
        "philips_suv": "Philips' factors",
        "philips_activity": "Philips' factors",
    }
    if first.units == "CNTS":
        if differing := _differing(frames, factors):
            return _raw(unit, differing)
        if first.philips_suv:
            return SuvScale(
                factor=first.philips_suv,
                name="SUV body weight",
                note=f"SUV body weight = counts x {first.philips_suv:.6g} "
                "(Philips' factor, tag 7053,1000)",
            )
        if first.philips_activity:
            return _of_activity(frames, first.philips_activity, unit)
    if first.units != "BQML":
        stated = _code(first.units) or "missing"
        return _raw(unit, f"Units are {stated}, not BQML or GML")
    return _of_activity(frames, 1.0, unit)


def _stored(first: PetTags) -> SuvScale:
    if first.suv_type not in ("", "BW"):
        return _raw("g/mL", f"they are SUV of the type {_code(first.suv_type)}")
    return SuvScale(
        factor=1.0,
        name="SUV body weight",
        note="values are SUV body weight as stored (Units GML)",
    )


def _of_activity(frames: Sequence[PetTags], activity: float, unit: str) -> SuvScale:
    first = frames[0]
    if reason := _differing(frames, _AGREEING) or _unusable(first):
        return _raw(unit, reason)
    weight, left, half_life = first.weight or 0, first.dose or 0, first.half_life or 0
    what = (
        f"weight {weight:g} kg, dose {left / 1e6:.6g} MBq, half-life {half_life:g} s, "
    )
    if first.decay_correction == "ADMIN":
        what += "decay corrected to the injection (ADMIN)"
    elif first.decay_correction == "START":
        delay, how = _scan_delay(frames, half_life)
        reason = _unusable_delay(frames, delay, half_life)
        if delay is None or reason:
            return _raw(unit, reason)
        left *= 2 ** (-delay.seconds / half_life)
        if not delay.is_dated:
            how += ", the date is not stated and taken as the last that fits"
        what += (
            f"{delay.seconds / 60:.2f} min from injection to scan ({how}), decay "
            "corrected to the start of the scan (START)"
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


def _differing(frames: Sequence[PetTags], names: Mapping[str, str]) -> str:
    """Say what is not the same for all frames, empty if all is."""
    found = [
        told
        for name, told in names.items()
        if len({getattr(frame, name) for frame in frames}) > 1
    ]
    return f"slices have different {' and '.join(dict.fromkeys(found))}" * bool(found)


def _unusable(first: PetTags) -> str:
    """Say why the dose by weight cannot be computed, empty if it can."""
    numbers = {
        "weight": first.weight,
        "injected dose": first.dose,
        "half-life": first.half_life,
    }
    missing = [name for name, value in numbers.items() if not value or value <= 0]
    if missing:
        return f"{' and '.join(missing)} missing"
    weight, dose = first.weight or 0, first.dose or 0
    if not _DOSES[0] <= dose <= _DOSES[1]:
        return f"an injected dose of {dose:g} Bq cannot be right"
    if not _WEIGHTS[0] <= weight <= _WEIGHTS[1]:
        return f"a weight of {weight:g} kg cannot be right"
    if not first.is_corrected:
        return "they are not corrected for attenuation and decay"
    return ""


def _unusable_delay(
    frames: Sequence[PetTags], delay: Delay | None, half_life: float
) -> str:
    """Say why the decay until the scan is not known, empty if it is."""
    by_series = [frame.series_delay for frame in frames]
    seconds = [each.seconds for each in by_series if each is not None]
    spread = max(seconds, default=0.0) - min(seconds, default=0.0)
    if len(seconds) not in (0, len(frames)) or spread > _SAME_DELAY:
        return "slices have different times of the injection"
    if delay is None and frames[0].has_offset_alone:
        return (
            "the injection's time has an offset from UTC, which the others lack "
            "(TimezoneOffsetFromUTC)"
        )
    if delay is None:
        return "the time from injection to scan is unknown"
    minutes = delay.seconds / 60
    if delay.is_dated:
        is_sane = 0 <= delay.seconds <= _HALF_LIVES * half_life
        return "" if is_sane else f"{minutes:.4g} min from injection to scan is no time"
    if half_life > _UNDATED_HALF_LIFE:
        return (
            "the date of the injection or of the scan is missing, and with a half-life "
            f"of {half_life / 3600:.3g} h days may lie between"
        )
    if not 0 <= delay.seconds <= min(_UNDATED_DELAY, _HALF_LIVES * half_life):
        return f"{minutes:.4g} min from injection to scan, without a date, is no time"
    return ""


def _scan_delay(
    frames: Sequence[PetTags], half_life: float
) -> tuple[Delay | None, str]:
    """From the injection to the moment that decay was corrected to."""
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
    acquired = [
        (frame, frame.acquisition_delay)
        for frame in frames
        if frame.acquisition_delay is not None
    ]
    starts = []
    for frame, delay in acquired:
        if (frame.reference_time or 0) > 0 and (frame.duration or 0) > 0:
            mean = _mean_count_time(frame.duration or 0, half_life)
            start = delay.seconds - (frame.reference_time or 0) + mean
            starts.append(replace(delay, seconds=start))
    if starts:
        return min(starts, key=_seconds), "by the frames' reference times"
    delays = [delay for _, delay in acquired]
    return min(delays, key=_seconds, default=None), "by the first acquisition"


def _seconds(delay: Delay) -> float:
    return delay.seconds


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
