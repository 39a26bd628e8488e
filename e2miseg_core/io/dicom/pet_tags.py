"""Numbers of a PET header: a weight, a dose, a half-life, and differences of times.

No date and no time of day leaves this module, but for telling frames apart.
"""

import datetime as dt
from dataclasses import dataclass

from e2miseg_core.io.dicom.tags import Tags

__all__ = ["Moment", "PetTags", "read_moment", "read_pet_tags"]

# Days and seconds of the day; days are None where only the time is stated.
Moment = tuple[int | None, float]

_DAY = 86400.0


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
