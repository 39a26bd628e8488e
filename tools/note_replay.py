"""Write into the card of `phantom-lesions` how its training cases are made again.

    python tools/note_replay.py

Fine-tuning replays them. The weights stay bit for bit; the hash, which covers the card
too, changes. Run again, it changes nothing.
"""

from dataclasses import replace

import torch
from safetensors.torch import load_file

from e2miseg_core.model import load_model, save_model
from e2miseg_core.models import find_model

REPLAY = {"generator": "phantoms", "seed": 1, "cases": 60}


def main() -> None:
    """Rewrite the file, then compare every tensor."""
    path = find_model("phantom-lesions")
    before = load_file(path)
    model = load_model(path)
    training = {**model.card.training, "replay": REPLAY}
    card = save_model(model.network, replace(model.card, training=training), path)
    after = load_file(path)
    same = before.keys() == after.keys() and all(
        torch.equal(before[name], after[name]) for name in before
    )
    print(f"{path.name}: {card.hash}; weights {'as before' if same else 'CHANGED'}")


if __name__ == "__main__":
    main()
