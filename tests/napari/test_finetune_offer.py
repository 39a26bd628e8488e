"""What can be resumed belongs to the project that is open."""

import pytest

from e2miseg_core.project import Project
from e2miseg_napari.finetune_offer import FinetuneOffer


@pytest.fixture
def begun(tmp_path, tiny_model):
    """Make projects with a fine-tuning that was left in the middle."""

    def make(name: str) -> Project:
        project = Project.create(tmp_path / f"{name}.e2m", model=tiny_model)
        (project.new_job_folder() / "request.json").write_text("{}")
        return project

    return make


def test_nothing_is_offered_of_the_project_before(qtbot, begun):
    offer, seen = FinetuneOffer(), []
    offer.changed.connect(lambda: seen.append(offer.found))
    offer.look(begun("first"))
    assert offer.found is not None
    broken = begun("second")
    (folder,) = (broken.path / "jobs").iterdir()
    (folder / "lock").mkdir()  # cannot be read
    with qtbot.waitSignal(offer.problem, timeout=5000):
        offer.look(broken)
    assert offer.found is None
    assert seen[-1] is None
