"""Which of the places where people said what is right are kept for the test."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from e2miseg_core.boxes import overlap
from e2miseg_core.errors import ConfigError
from e2miseg_core.project.sites import FEWEST_SITES, Site

__all__ = ["FEWEST_HELD_OUT", "FEWEST_SITES", "SiteSplit", "split_sites"]

HELD_OUT = 0.25  # share of the sites that is kept for the test
FEWEST_HELD_OUT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSplit:
    """Sites to learn from and sites to be tested on."""

    training: tuple[Site, ...]
    held_out: tuple[Site, ...]


NOTHING_EARLIER = SiteSplit(training=(), held_out=())


def split_sites(
    sites: Sequence[Site], earlier: SiteSplit = NOTHING_EARLIER
) -> SiteSplit:
    """Hold out a quarter of the sites, at least two.

    Parameters
    ----------
    sites : sequence of Site
    earlier : SiteSplit, optional
        What the model in use was made of: where it learnt it is not tested, and where
        it was tested it does not learn.

    Returns
    -------
    SiteSplit
        The same for the same sites, in whatever order.

    Raises
    ------
    ConfigError
        If there are fewer than 6 sites.
    """
    if len(sites) < FEWEST_SITES:
        raise ConfigError(
            found=f"{len(sites)} corrected or accepted places",
            needed=f"at least {FEWEST_SITES}, {FEWEST_HELD_OUT} of which test the "
            "new model",
            do=f"correct or accept {FEWEST_SITES - len(sites)} more",
        )
    order = sorted(sites, key=_chance)
    training = [s for s in order if _touches(s, earlier.training)]
    rest = [s for s in order if s not in training]
    held_out = [s for s in rest if _touches(s, earlier.held_out)]
    rest = [s for s in rest if s not in held_out]
    wanted = max(FEWEST_HELD_OUT, round(HELD_OUT * len(sites)))
    while len(held_out) < wanted and rest:
        held_out.append(rest.pop(0))
    training += rest
    while len(held_out) < FEWEST_HELD_OUT:  # nothing is new: take what there is
        held_out.append(training.pop())
    while not training:
        training.append(held_out.pop())
    return SiteSplit(training=tuple(training), held_out=tuple(held_out))


def _touches(site: Site, others: Sequence[Site]) -> bool:
    return any(site.case == o.case and overlap(site.box, o.box) for o in others)


def _chance(site: Site) -> float:
    """A number in [0, 1) that depends on the site's place alone."""
    digest = hashlib.sha256(f"{site.case} {site.box}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64
