import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from e2miseg_core.errors import E2MISegError, ReadError
from e2miseg_core.networks.ehanet.encoder import Encoder
from e2miseg_core.networks.ehanet.pretrained import FILE, fetch_weights, load_weights
from e2miseg_core.progress import run

OURS = {"frozen": True, "norm": "batch", "whole": False}


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(1)
    return Encoder(**OURS)


@pytest.fixture(scope="module")
def weights(encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("hub") / "weights.safetensors"
    unused = {"head.fc.weight": torch.zeros(3)}
    counters = {k for k in encoder.state_dict() if k.endswith("num_batches_tracked")}
    kept = {k: v for k, v in encoder.state_dict().items() if k not in counters}
    save_file(kept | unused, path)
    return path


def test_weights_that_are_there_are_given_to_the_encoder(encoder, weights):
    asked = (
        "import sys; assert sys.argv[2] == 'model.safetensors'; "
        f"print({str(weights)!r})"
    )
    found = run(fetch_weights(asked))
    assert found == weights
    other = Encoder(**OURS)
    load_weights(other, found)
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, msg=name)


def test_an_unreachable_hub_is_told_in_one_line():
    with pytest.raises(ReadError) as caught:
        run(fetch_weights("import tarfile; raise tarfile.ReadError('nobody. Look up')"))
    assert "(nobody)" in str(caught.value)
    assert "ReadError" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_module_in_the_current_folder_is_not_taken_for_the_hub(
    weights, tmp_path, monkeypatch
):
    (tmp_path / "huggingface_hub.py").write_text("raise SystemExit('decoy')")
    monkeypatch.chdir(tmp_path)
    ask = (
        "import importlib.util as u; s = u.find_spec('huggingface_hub'); "
        f"print({str(weights)!r} if s is None or {str(tmp_path)!r} not in s.origin "
        "else 'decoy')"
    )
    assert run(fetch_weights(ask)) == weights


@pytest.fixture
def children(monkeypatch):
    """Processes that were started."""
    started = []
    begin = subprocess.Popen

    def note(*args, **kwargs):
        started.append(begin(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", note)
    return started


def test_a_hub_that_answers_nothing_is_given_up(children):
    with pytest.raises(ReadError, match="not done after 0 s"):
        run(fetch_weights("import time; time.sleep(60)", seconds=0.3))
    assert [child.returncode is not None for child in children] == [True]


def test_the_user_can_stop_the_fetching(children):
    job = fetch_weights("import time; time.sleep(60)")
    next(job)
    assert [child.returncode for child in children] == [None]
    job.close()
    assert [child.returncode is not None for child in children] == [True]


@pytest.mark.parametrize("content", [b"no tensors", b"\x80\x05."])
def test_what_is_no_safetensors_file_is_not_read(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(E2MISegError, match="damaged"):
        run(fetch_weights(f"print({str(path)!r})"))


def test_weights_of_another_network_are_not_taken(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"stem.conv.weight": torch.zeros(16, 3, 3, 3)}, path)
    with pytest.raises(ReadError, match="another network"):
        run(fetch_weights(f"print({str(path)!r})"))


def test_an_offline_user_is_told_where_the_file_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ReadError) as caught:
        run(fetch_weights())
    said = str(caught.value)
    assert "the hub cannot be reached" in said
    assert "Error" not in said
    assert "--network pretrained=false" in said
    place = Path(said.partition(f"{FILE} of ")[2].partition(" as ")[2].split(";")[0])
    place.parent.mkdir(parents=True)
    place.write_bytes(b"not weights")
    # It is looked for there: found, and refused for what is in it.
    with pytest.raises(ReadError, match="damaged"):
        run(fetch_weights())
