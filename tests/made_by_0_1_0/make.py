"""What `commands.sh` begins with, `make.py inputs`, and what it ends with, `make.py answers`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import probeline
from probeline.backbones.build import build

CHANNELS = {"blue": 2, "green": 1, "red": 0}
IMAGES = ("pictures/val/blue/1.png", "pictures/val/green/2.png", "pictures/val/red/3.png")


def make_pictures(folder: Path) -> None:
    """Write 18 train and 12 val PNGs of 16 x 12 pixels in three classes; one val picture is a copy of a train one."""
    rng = np.random.RandomState(0)
    for part, count in (("train", 6), ("val", 4)):
        for name, channel in CHANNELS.items():
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = (rng.random_sample((12, 16, 3)) * 8).astype(np.uint8) * 20
                pixels[..., channel] += 20
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    (folder / "val/red/0.png").write_bytes((folder / "train/red/0.png").read_bytes())


def make_tables(folder: Path) -> None:
    """Write labels.csv: warm, cold and one picture dropped; and groups.csv: the pictures of a class two by two."""
    paths = sorted(path.relative_to(folder) for path in folder.glob("*/*/*.png"))
    labels = {path: "warm" if path.parts[1] == "red" else "cold" for path in paths} | {paths[3]: ""}
    groups = {path: f"{path.parts[0]} {path.parts[1]} {int(path.stem) // 2}" for path in paths}
    for name, values in (("label", labels), ("group", groups)):
        lines = [f"sample_id,{name}", *(f"{path.as_posix()},{value}" for path, value in values.items())]
        Path(f"{name}s.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_weights(path: Path) -> None:
    """Write weights of -s, 0 and s for timm's test_efficientnet; the head that it brings is zero."""
    rng = np.random.RandomState(1)
    state = build("timm:test_efficientnet", "none").net.state_dict()
    for name, tensor in state.items():
        if name.startswith("classifier"):
            tensor.zero_()
        elif tensor.ndim > 1:
            signs = torch.from_numpy(np.floor(rng.random_sample(tensor.shape) * 3) - 1)
            tensor.copy_(signs * (3 / tensor[0].numel()) ** 0.5)
    save_file(state, path)


def answers() -> dict[str, object]:
    """Return rows of every cached entry and what the artifacts say of `IMAGES`, as JSON values."""
    rows, predictions = {}, {}
    for record in sorted(Path("cache").rglob("entry.json")):
        features = probeline.open_features(record.parent)
        rows[str(record.parent)] = {"first": features[0].tolist(), "last": features[len(features) - 1].tolist()}
    for folder in sorted(Path("artifacts").iterdir()):
        said = probeline.load(folder, "cpu").predict(IMAGES)
        predictions[str(folder)] = {
            "classes": said.classes,
            "probabilities": said.probabilities.tolist(),
            "neighbours": [[one.sample_id for one in near] for near in said.neighbours],
        }
    return {"images": IMAGES, "rows": rows, "predictions": predictions}


if __name__ == "__main__":
    if sys.argv[1:] == ["inputs"]:
        make_pictures(Path("pictures"))
        make_tables(Path("pictures"))
        make_weights(Path("net.safetensors"))
    elif sys.argv[1:] == ["answers"]:
        Path("answers.json").write_text(json.dumps(answers()) + "\n", encoding="utf-8")
