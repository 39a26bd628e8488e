"""PET in SUV body weight, after the pseudo-code of QIBA [1]_.

Only numbers are kept of a header: a weight, a dose, a half-life, and differences of
times. No date and no time of day leaves this module.

References
----------
.. [1] QIBA FDG-PET/CT, "Standardized Uptake Value (SUV) calculation: vendor-neutral
   pseudo-code", robust version, 2012.
"""

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass

from e2miseg_core.io.dicom.tags import Tags

__all__ = ["Moment", "PetTags", "SuvScale", "find_suv", "read_moment", "read_pet_tags"]

# Days and seconds of the day; days are None where only the time is stated.
Moment = tuple[int | None, float]

_DAY = 86400.0
_DOSES = (1e4, 1e11)  # Bq: mice to men; less was written in another unit
_WEIGHTS = (1e-3, 700.0)  # kg
_HALF_LIVES = 12  # after more of them nothing is left to measure


@dataclass(frozen=True, slots=True, kw_only=True)
class PetTags:
    """What the scale to SUV is computed from.

    Attributes
    ----------
    units, decay_correction, suv_type : str
        As coded: "BQML", "START", "BW".
    is_corrected : bool
        For attenuation and decay.
    weight, dose, half_life : float or None
        kg, Bq, s.
    series_delay, acquisition_delay, ge_delay : float or None
        Seconds from the injection to the times of the series, of this frame's
        acquisition, and to GE's private one.
    acquired_after_series : float or None
        Seconds from the series' time to this frame's acquisition.
    reference_time, duration : float or None
        Of the frame, s.
    philips_suv, philips_activity : float or None
        Philips' private factors.
    """

    units: str
    decay_correction: str
    suv_type: str
    is_corrected: bool
    weight: float | None
    dose: float | None
    half_life: float | None
    series_delay: float | None
    acquisition_delay: float | None
    ge_delay: float | None
    acquired_after_series: float | None
    reference_time: float | None
    duration: float | None
    philips_suv: float | None
    philips_activity: float | None


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


def read_moment(date: str, time: str) -> Moment | None:
    """Read a date and a time of DICOM, only for differences.

    Returns
    -------
    tuple of (int or None, float), or None
        Days, where the date is usable, and seconds of the day. None without a time.
    """
    digits, _, rest = time.strip().replace(":", "").partition(".")
    if len(digits) < 4 or not digits.isdecimal():
        return None
    seconds = int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:6] or 0)
    fraction = rest.split("+")[0].split("-")[0]
    part = float(f"0.{fraction}") if fraction.isdecimal() else 0.0
    stated = date.strip().replace(".", "").replace("-", "")[:8]
    days = None
    if len(stated) == 8 and stated.isdecimal():
        try:
            days = dt.date.fromisoformat(stated).toordinal()
        except ValueError:
            days = None
    return days, seconds + part


def _read_both(text: str) -> Moment | None:
    """Read a moment whose date and time stand in one tag."""
    return read_moment(text[:8], text[8:].split("+")[0].split("-")[0])


def _seconds_between(start: Moment | None, end: Moment | None) -> float | None:
    """Seconds from one moment to another; within a day where a date is missing."""
    if start is None or end is None:
        return None
    if start[0] is None or end[0] is None:
        return (end[1] - start[1]) % _DAY
    return (end[0] - start[0]) * _DAY + end[1] - start[1]


def read_pet_tags(tags: Tags) -> PetTags:
    """Take the numbers out of the header of a PET image."""
    drug = tags.first("RadiopharmaceuticalInformationSequence")
    series = read_moment(tags.text("SeriesDate"), tags.text("SeriesTime"))
    acquired = read_moment(
        tags.text("AcquisitionDate") or tags.text("SeriesDate"),
        tags.text("AcquisitionTime"),
    ) or _read_both(tags.text("AcquisitionDateTime"))
    start = None
    if drug is not None:
        start = _read_both(drug.text("RadiopharmaceuticalStartDateTime"))
        start = start or read_moment("", drug.text("RadiopharmaceuticalStartTime"))
    is_ge = tags.text("GEPetCreator") == "GEMS_PETD_01"
    ge = _read_both(tags.text("GEScanDateTime")) if is_ge else None
    after = _seconds_between(series, acquired)
    if after is not None and series and acquired and None in (series[0], acquired[0]):
        after = (after + _DAY / 2) % _DAY - _DAY / 2
    is_philips = tags.text("PhilipsPetCreator").upper().startswith("PHILIPS")
    reference, duration = (
        tags.number("FrameReferenceTime"),
        tags.number("ActualFrameDuration"),
    )
    return PetTags(
        units=tags.text("Units").upper(),
        decay_correction=tags.text("DecayCorrection").upper(),
        suv_type=tags.text("SUVType").upper(),
        is_corrected={"ATTN", "DECY"} <= set(tags.texts("CorrectedImage")),
        weight=tags.number("PatientWeight"),
        dose=drug.number("RadionuclideTotalDose") if drug else None,
        half_life=drug.number("RadionuclideHalfLife") if drug else None,
        series_delay=_seconds_between(start, series),
        acquisition_delay=_seconds_between(start, acquired),
        ge_delay=_seconds_between(start, ge),
        acquired_after_series=after,
        reference_time=None if reference is None else reference / 1000,
        duration=None if duration is None else duration / 1000,
        philips_suv=tags.number("PhilipsSUVFactor") if is_philips else None,
        philips_activity=tags.number("PhilipsActivityFactor") if is_philips else None,
    )


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
