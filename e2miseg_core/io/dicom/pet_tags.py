"""Numbers of a PET header: a weight, a dose, a half-life, and differences of times.

No date and no time of day leaves this module, but for telling frames apart.
"""

import datetime as dt
import re
from dataclasses import dataclass

from e2miseg_core.io.dicom.tags import Tags

__all__ = ["Delay", "Moment", "PetTags", "read_moment", "read_pet_tags"]

# Days and seconds of the day; days are None where only the time is stated.
Moment = tuple[int | None, float]

_DAY = 86400.0
# Date, time, and the offset from UTC where it is stated.
_DATE_AND_TIME = re.compile(r"(\d{8})(\d{4,6}(?:\.\d*)?)(\S*)")
_OFFSET = re.compile(r"([+-])(\d\d)([0-5]\d)")
_FARTHEST = 14 * 3600.0  # from UTC, anywhere on Earth


@dataclass(frozen=True, slots=True)
class Delay:
    """Seconds from the injection to another moment.

    Attributes
    ----------
    seconds : float
        Below 0 where the injection came later.
    is_dated : bool
        Whether both dates are stated; else the moment is taken as the next of its time
        of day, less than a day after the injection.
    """

    seconds: float
    is_dated: bool


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
    has_offset_alone : bool
        Whether the injection has an offset from UTC, and the other times have none.
    series_delay, acquisition_delay, ge_delay : Delay or None
        From the injection to the times of the series, of this frame's acquisition, and
        to GE's private one.
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
    has_offset_alone: bool
    series_delay: Delay | None
    acquisition_delay: Delay | None
    ge_delay: Delay | None
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
    fraction = rest.strip()
    part = float(f"0.{fraction}") if fraction.isdecimal() else 0.0
    stated = date.strip().replace(".", "").replace("-", "")[:8]
    days = None
    if len(stated) == 8 and stated.isdecimal():
        try:
            days = dt.date.fromisoformat(stated).toordinal()
        except ValueError:
            days = None
    return days, seconds + part


def _read_both(text: str, local: float | None) -> Moment | None:
    """Read a moment whose date and time stand in one tag, in the local time.

    Parameters
    ----------
    text : str
        With or without an offset from UTC.
    local : float or None
        Offset of the other times of the file, s; without it, a moment with an offset
        cannot be compared with them, and is None.
    """
    found = _DATE_AND_TIME.fullmatch(text.strip())
    moment = read_moment(found[1], found[2]) if found else None
    if found is None or moment is None or moment[0] is None or not found[3]:
        return moment
    offset = _read_offset(found[3])
    if offset is None or local is None:
        return None
    days, seconds = divmod(moment[0] * _DAY + moment[1] - offset + local, _DAY)
    return int(days), seconds


def _read_offset(text: str) -> float | None:
    """Read "+0130" as seconds, None if it is no offset."""
    found = _OFFSET.fullmatch(text.strip())
    if found is None:
        return None
    seconds = int(found[2]) * 3600.0 + int(found[3]) * 60.0
    if seconds > _FARTHEST:
        return None
    return -seconds if found[1] == "-" else seconds


def _delay(start: Moment | None, end: Moment | None) -> Delay | None:
    if start is None or end is None:
        return None
    if start[0] is None or end[0] is None:
        return Delay((end[1] - start[1]) % _DAY, is_dated=False)
    return Delay((end[0] - start[0]) * _DAY + end[1] - start[1], is_dated=True)


def _seconds_after(start: Moment | None, end: Moment | None) -> float | None:
    """Seconds from one moment to another, before or after it."""
    found = _delay(start, end)
    if found is None or found.is_dated:
        return None if found is None else found.seconds
    return (found.seconds + _DAY / 2) % _DAY - _DAY / 2


def read_pet_tags(tags: Tags) -> PetTags:
    """Take the numbers out of the header of a PET image."""
    drug = tags.first("RadiopharmaceuticalInformationSequence")
    local = _read_offset(tags.text("TimezoneOffsetFromUTC"))
    series = read_moment(tags.text("SeriesDate"), tags.text("SeriesTime"))
    acquired = read_moment(
        tags.text("AcquisitionDate") or tags.text("SeriesDate"),
        tags.text("AcquisitionTime"),
    ) or _read_both(tags.text("AcquisitionDateTime"), local)
    start, has_offset_alone = _injection(drug, local)
    is_ge = tags.text("GEPetCreator") == "GEMS_PETD_01"
    ge = _read_both(tags.text("GEScanDateTime"), local) if is_ge else None
    is_philips = tags.text("PhilipsPetCreator").upper().startswith("PHILIPS")
    return PetTags(
        units=tags.text("Units").upper(),
        decay_correction=tags.text("DecayCorrection").upper(),
        suv_type=tags.text("SUVType").upper(),
        is_corrected={"ATTN", "DECY"} <= set(tags.texts("CorrectedImage")),
        weight=tags.number("PatientWeight"),
        dose=drug.number("RadionuclideTotalDose") if drug else None,
        half_life=drug.number("RadionuclideHalfLife") if drug else None,
        has_offset_alone=has_offset_alone,
        series_delay=_delay(start, series),
        acquisition_delay=_delay(start, acquired),
        ge_delay=_delay(start, ge),
        acquired_after_series=_seconds_after(series, acquired),
        reference_time=_milliseconds(tags, "FrameReferenceTime"),
        duration=_milliseconds(tags, "ActualFrameDuration"),
        philips_suv=tags.number("PhilipsSUVFactor") if is_philips else None,
        philips_activity=tags.number("PhilipsActivityFactor") if is_philips else None,
    )


def _injection(drug: Tags | None, local: float | None) -> tuple[Moment | None, bool]:
    """Read when it was, and whether it has an offset that nothing compares with."""
    if drug is None:
        return None, False
    stated = drug.text("RadiopharmaceuticalStartDateTime")
    both = _read_both(stated, local)
    has_offset_alone = both is None and _read_both(stated, 0.0) is not None
    clock = read_moment("", drug.text("RadiopharmaceuticalStartTime"))
    return both or clock, has_offset_alone


def _milliseconds(tags: Tags, keyword: str) -> float | None:
    found = tags.number(keyword)
    return None if found is None else found / 1000
