"""timm's EfficientNet-Lite0 in the usual training loop of PyTorch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from pillow_images import load_cropped
from protocol import Stopwatch, read_settings, read_table, report
from torch import nn
from torch.utils.data import DataLoader, Dataset

NORMS = (nn.BatchNorm2d,)


class Images(Dataset[tuple[torch.Tensor, int]]):
    """Rows of a table: decoded at first sight and kept in memory as uint8.

    Worker processes each keep what they have seen, as long as they live.

    Args:
        table: Paths and labels.
        names: The classes in order.
    """

    def __init__(self, table: tuple[list[str], list[str]], names: list[str]) -> None:
        self._paths, labels = table
        self._targets = [names.index(label) for label in labels]
        self._kept: dict[int, torch.Tensor] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        if row not in self._kept:
            self._kept[row] = torch.from_numpy(load_cropped(self._paths[row])).permute(2, 0, 1)
        return self._kept[row], self._targets[row]


def main() -> None:
    settings = read_settings()
    if "probe" in settings:
        probe(settings)
        return
    torch.manual_seed(settings["seed"])
    stopwatch = Stopwatch()
    tables = {split: read_table(path) for split, path in settings["tables"].items()}
    names = sorted(set(tables["train"][1]))
    loaders = {split: loader(Images(tables[split], names), settings, split) for split in tables}
    model = build(settings, len(names))
    fit(model, loaders["train"], loaders["validation"], settings)
    times = stopwatch.read()
    report(
        **times,
        test_accuracy=measure(model, loaders["test"]),
        libraries=f"timm {timm.__version__}, PyTorch {torch.__version__}",
    )


def loader(rows: Images, settings: dict[str, Any], split: str) -> DataLoader[Any]:
    """Batches, shuffled where they train."""
    workers = settings["workers"]
    return DataLoader(
        rows,
        settings["batch_size"],
        shuffle=split == "train",
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def build(settings: dict[str, Any], num_classes: int) -> nn.Module:
    """The network with a fresh head, frozen as far as the case says, BatchNorm always."""
    model = timm.create_model(
        "tf_efficientnet_lite0", num_classes=num_classes, drop_rate=settings["dropout"]
    )
    load_weights(model, settings["weights"])
    train = settings["train"]
    stages = [model.conv_stem, model.bn1, *model.blocks, model.conv_head, model.bn2]
    if train != "all":
        # The stages follow the two modules of the stem.
        first = 1 + int(train["from"].removeprefix("stage")) if isinstance(train, dict) else None
        for module in stages[:first]:
            module.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, NORMS):
            module.requires_grad_(False)
    # The layout in which convolutions are quickest on a CPU.
    return model.to(memory_format=torch.channels_last)


def load_weights(model: nn.Module, folder: str) -> None:
    """Gives the backbone its weights: other names, but the same tensors in the same order."""
    (file,) = Path(folder).glob("*.pth")
    given = torch.load(file, weights_only=True)
    tensors = [tensor for name, tensor in given.items() if not name.startswith("_fc.")]
    state = model.state_dict()
    names = [name for name in state if not name.startswith("classifier.")]
    model.load_state_dict({**state, **dict(zip(names, tensors, strict=True))})


def fit(
    model: nn.Module, train: DataLoader[Any], validation: DataLoader[Any], settings: dict[str, Any]
) -> None:
    """AdamW with a cosine curve and clipped gradients; validation in each epoch."""
    steps = settings["epochs"] * len(train)
    learning = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": settings["weight_decay"]},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, settings["learning_rate"])
    curve = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=settings["label_smoothing"])
    for _ in range(settings["epochs"]):
        to_training(model)
        for images, targets in train:
            optimizer.zero_grad()
            loss_of(model(normalized(images)), targets).backward()
            nn.utils.clip_grad_norm_(learning, settings["gradient_clip_norm"])
            optimizer.step()
            curve.step()
        measure(model, validation)


def to_training(model: nn.Module) -> None:
    """Training mode, but for BatchNorm, which keeps its statistics."""
    model.train()
    for module in model.modules():
        if isinstance(module, NORMS):
            module.eval()


def normalized(images: torch.Tensor) -> torch.Tensor:
    """uint8 (n, 3, height, width) to the network's input."""
    return ((images.float() - 127.0) / 128.0).to(memory_format=torch.channels_last)


def measure(model: nn.Module, rows: DataLoader[Any]) -> float:
    """Share of the rows whose class the model finds."""
    model.eval()
    with torch.inference_mode():
        found = [model(normalized(x)).argmax(1) == targets for x, targets in rows]
    return float(torch.cat(found).float().mean())


def probe(settings: dict[str, Any]) -> None:
    """Writes the features of given inputs, to be compared with tltool's."""
    images = torch.from_numpy(np.load(settings["probe"])["image"]).permute(0, 3, 1, 2)
    model = build(settings, 2).eval()
    with torch.no_grad():
        features = model.forward_head(model.forward_features(images), pre_logits=True)
    np.save(Path(settings["features"]), features.numpy())
    report(rows=len(images))


if __name__ == "__main__":
    main()
