"""How far a new model goes from the old one: no further than nothing is forgotten."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from e2miseg_core.inference.engine import TilePredictor
from e2miseg_core.model import load_model
from e2miseg_core.progress import Progress, run
from e2miseg_core.training import trial
from e2miseg_core.training.exam import Baseline
from e2miseg_core.training.finetune import FinetuneSettings, finetune_job
from e2miseg_core.training.gate import Evidence, forgets, judge
from e2miseg_core.training.trial import SHARES, blend, choose

REMEMBERS = Evidence(before=(30,), after=(20,), voxels=100, confident=1000, changed=5)
counts = st.lists(st.integers(0, 20), min_size=len(SHARES), max_size=len(SHARES))


def test_a_blend_lies_on_the_way_from_old_to_new(tiny_model_path: Path) -> None:
    old, new = (load_model(tiny_model_path).network for _ in range(2))
    with torch.no_grad():
        for tensor in new.parameters():
            tensor.add_(torch.randn_like(tensor))
    before = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    for share in (0.0, 0.5, 1.0):
        found = blend(old, new, share).state_dict()
        for name, start in old.state_dict().items():
            between = start + share * (before[name] - start)
            torch.testing.assert_close(found[name], between)
    for name, tensor in new.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    found = blend(old, new, 1.0).state_dict()
    for name, tensor in before.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def test_it_forgets_as_soon_as_the_gate_would_refuse_for_it() -> None:
    assert not forgets(REMEMBERS)
    assert forgets(replace(REMEMBERS, changed=6))  # more than 0.5 %
    assert not forgets(replace(REMEMBERS, changed=6, expected=3.0))
    dice = {"replay_before": 0.8, "n_replay": 2}
    assert not forgets(replace(REMEMBERS, replay_after=0.7951, **dice))  # type: ignore[arg-type]
    assert forgets(replace(REMEMBERS, replay_after=0.7949, **dice))  # type: ignore[arg-type]
    worse = replace(REMEMBERS, before=(1,), after=(99,))
    assert not forgets(worse)  # what is held out is not memory
    assert not judge(worse).kept


def chosen(
    monkeypatch: pytest.MonkeyPatch, found: Sequence[Evidence]
) -> tuple[Evidence, int]:
    """What is chosen where the networks on the way show this evidence."""
    networks = [nn.Identity() for _ in found]
    by_network = dict(zip(map(id, networks), found, strict=True))

    def examine(_: Baseline, new: TilePredictor) -> Iterator[Progress]:
        yield Progress(done=0, total=0, stage="testing")
        return by_network[id(new.network)]

    monkeypatch.setattr(trial, "examine", examine)
    old = TilePredictor(network=nn.Identity(), device=torch.device("cpu"))
    way: Any = zip(SHARES, networks, strict=True)
    baseline: Any = None
    evidence, network = run(choose(baseline, old, way))
    return evidence, networks.index(network)  # type: ignore[arg-type]


@given(changed=counts, before=counts, after=counts)
def test_how_far_to_go_depends_on_what_is_remembered_alone(
    changed: list[int], before: list[int], after: list[int]
) -> None:
    found = [
        replace(REMEMBERS, changed=c, before=(b,), after=(a,))
        for c, b, a in zip(changed, before, after, strict=True)
    ]
    fits = [index for index, count in enumerate(changed) if count <= 5]
    expected = fits[0] if fits else len(SHARES) - 1
    with pytest.MonkeyPatch.context() as patch:
        evidence, index = chosen(patch, found)
    assert index == expected
    assert evidence == replace(found[expected], share=SHARES[expected])


def test_where_all_forget_the_verdict_is_no() -> None:
    forgetful = replace(REMEMBERS, changed=6)
    with pytest.MonkeyPatch.context() as patch:
        evidence, _ = chosen(patch, [forgetful] * len(SHARES))
    verdict = judge(evidence)
    assert not verdict.kept
    assert "0.60 % of the confident labels elsewhere changed" in verdict.sentence


def test_the_sentence_tells_how_far_it_went() -> None:
    half = judge(replace(REMEMBERS, share=0.5))
    assert half.sentence.startswith(
        "Kept, 50 % of the way from old to new weights: 33 % fewer wrong voxels"
    )
    assert half.figures["share"] == 0.5
    assert judge(REMEMBERS).sentence.startswith("Kept: 33 %")


def test_what_is_tested_is_what_is_kept_to_the_bit(
    corrected_project: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = corrected_project().project
    examined: list[dict[str, torch.Tensor]] = []
    real = trial.examine

    def look(baseline: Baseline, new: TilePredictor) -> Any:
        state = new.network.state_dict()
        examined.append({name: tensor.clone() for name, tensor in state.items()})
        return real(baseline, new)

    monkeypatch.setattr(trial, "examine", look)
    monkeypatch.setattr(trial, "forgets", lambda e: e.share == 1)
    monkeypatch.setattr(trial, "judge", lambda e: replace(judge(e), kept=True))
    old = load_model(project.version.path).network.state_dict()
    settings = FinetuneSettings(
        steps=4, learning_rate=1e-3, test_every=9, device="cpu", precision="float32"
    )
    result = run(finetune_job(project, settings))
    assert result.figures["share"] == 0.5
    assert len(examined) == 2
    kept = load_model(project.version.path).network.state_dict()
    for name, tensor in kept.items():
        torch.testing.assert_close(examined[1][name], tensor, rtol=0, atol=0)
        half = torch.lerp(old[name], examined[0][name], 0.5)
        torch.testing.assert_close(tensor, half, rtol=2e-3, atol=1e-5)
        assert torch.equal(tensor, tensor.half().to(tensor.dtype))
