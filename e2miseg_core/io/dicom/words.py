"""Free text of headers, cut down to words that cannot name anybody.

A series description helps to choose a series, but technicians write names into it. Of
it only words of imaging and short numbers are kept.
"""

import re
from collections.abc import Iterable

__all__ = ["safe_words"]

_VOCABULARY = """
2d 3d 4d abd abdomen ac acquisition ad adc adrenal angio ankle apt arterial artery asl
atlas attenuation avg ax axial b0 bilateral blade body bold bone brain bravo breast
calf cardiac cerebral cervical chest cine coll contrast cor coronal corrected crop ct
cta ctac ctp cube dce delayed derived diff diffusion dixon dose dsc dti dual dwi dyn
dynamic early echo elbow enhanced ep2d epi expiration ezdwi fa face fast fat fatsat
fdg ffe fiesta flair flash fmri foot fov fp fs fse fsl full gad gated gd gradient gre
hand haste head heart hip hippocampus hr hrct hres in inphase inspiration ir iso
isotropic kernel kidney knee l late lateral left leg liver loc localizer lower lumbar
lung lungs magnitude map mask mean mip mpgr mpr mprage mr mra mrcp mri multi nac
native navi neck nephro no non oblique op opp opphase out pa pancreas parallel
parenchyma pd pelvis perfusion pet phase pituitary plain portal post pre propeller
prostate proton pt pulmonary r recon reformat registered resampled resolution rest
resting right run sag sagittal sat scan scout se seg segmentation sense series
shoulder slab slice slices soft space spair spgr spin spine stir stress subtracted
subtraction survey suv suvbw swi t1 t1w t2 t2star t2w te test tfe tfl thick thin
thoracic thorax time tirm tissue tof tr tra trace trans transverse true trufi tse ttp
turbo uncorrected unenhanced upper us vascular vein venous vibe view vol volume w
water wb whole wholebody window with without wo wrist
"""
_WORDS = frozenset(_VOCABULARY.split())
_NUMBERS = re.compile(
    r"\d{1,2}(\.\d{1,3})?(mm|cm|s|min|deg|t)?|[bh][rfvluq]?\d{1,4}[fs]?"
)
_LONGEST = 64


def safe_words(texts: Iterable[str]) -> str:
    """Keep the words of imaging, and short numbers, of free text.

    Parameters
    ----------
    texts : iterable of str
        Values of a tag.

    Returns
    -------
    str
        At most 64 characters, such as "T1 MPRAGE sag 1.5mm".
    """
    words = re.split(r"[\s_,;:/()\[\]+*=<>-]+", " ".join(texts))
    kept = [
        word
        for word in words
        if word.lower() in _WORDS or _NUMBERS.fullmatch(word.lower())
    ]
    return " ".join(kept)[:_LONGEST].rstrip()
