"""The Trainer of transformers: dynamic padding, texts of like length together, mean pooling."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from protocol import Stopwatch, read_settings, read_table, report
from torch import nn
from transformers import (
    AutoModel,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging


class Classifier(nn.Module):
    """The encoder, the mean over the real tokens, dropout, and a linear layer.

    Args:
        settings: Of the case.
        num_classes: Width of the output.
    """

    def __init__(self, settings: dict[str, Any], num_classes: int) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(settings["weights"], add_pooling_layer=False)
        self.dropout = nn.Dropout(settings["dropout"])
        self.linear = nn.Linear(self.encoder.config.hidden_size, num_classes)
        self.smoothing = settings["label_smoothing"]
        self.frozen = self._freeze(settings["train"])

    def _freeze(self, train: Any) -> list[nn.Module]:
        """Takes the gradient from what a case freezes, and returns it."""
        if train == "all":
            return []
        blocks = list(self.encoder.encoder.layer)
        learning = train["last"] if isinstance(train, dict) else 0
        frozen = [self.encoder.embeddings, *blocks[: len(blocks) - learning]]
        for module in frozen:
            module.requires_grad_(False)
        return frozen

    def train(self, mode: bool = True) -> Classifier:
        """As in every module, but without dropout in what is frozen."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def features(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
        """The mean over the real tokens, (batch, channels)."""
        tokens = self.encoder(input_ids, attention_mask, token_type_ids).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(tokens.dtype)
        return (tokens * weights).sum(1) / weights.sum(1)

    def forward(
        self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None, labels: Any = None
    ) -> dict[str, Any]:
        """Loss and logits, as the Trainer wants them."""
        features = self.features(input_ids, attention_mask, token_type_ids)
        logits = self.linear(self.dropout(features))
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=self.smoothing)
        return {"loss": loss, "logits": logits}


def main() -> None:
    settings = read_settings()
    # The file has a pooler, which the head doesn't use: nothing to warn of.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if "probe" in settings:
        probe(settings)
        return
    set_seed(settings["seed"])
    stopwatch = Stopwatch()
    tables = {split: read_table(path) for split, path in settings["tables"].items()}
    names = sorted(set(tables["train"][1]))
    tokenizer = AutoTokenizer.from_pretrained(settings["weights"])
    train, validation = (encoded(tokenizer, tables[s], names) for s in ("train", "validation"))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            Classifier(settings, len(names)),
            arguments(settings, folder),
            data_collator=DataCollatorWithPadding(tokenizer),
            train_dataset=train,
            eval_dataset=validation,
            compute_metrics=accuracy,
        )
        trainer.train()
        times = stopwatch.read()
        tested = trainer.evaluate(encoded(tokenizer, tables["test"], names))
    report(
        **times,
        test_accuracy=tested["eval_accuracy"],
        libraries=f"transformers {transformers.__version__}, PyTorch {torch.__version__}",
    )


def encoded(
    tokenizer: Any, table: tuple[list[str], list[str]], names: list[str]
) -> list[dict[str, Any]]:
    """The rows as the Trainer takes them, tokenized once."""
    texts, labels = table
    tokens = tokenizer(texts, truncation=True, max_length=128)
    place = {name: i for i, name in enumerate(names)}
    return [
        {**{key: tokens[key][row] for key in tokens}, "labels": place[label]}
        for row, label in enumerate(labels)
    ]


def arguments(settings: dict[str, Any], folder: str) -> TrainingArguments:
    """The settings of a case in the Trainer's terms."""
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        lr_scheduler_type="cosine",
        weight_decay=settings["weight_decay"],
        max_grad_norm=settings["gradient_clip_norm"],
        per_device_train_batch_size=settings["batch_size"],
        per_device_eval_batch_size=settings["batch_size"],
        train_sampling_strategy="group_by_length",
        eval_strategy="epoch",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        seed=settings["seed"],
    )


def accuracy(predicted: Any) -> dict[str, float]:
    """Share of the rows whose class is found."""
    return {"accuracy": float(np.mean(predicted.predictions.argmax(-1) == predicted.label_ids))}


def probe(settings: dict[str, Any]) -> None:
    """Writes the features of given inputs, to be compared with tltool's."""
    given = np.load(settings["probe"])
    names = ("token_ids", "padding_mask", "segment_ids")
    tensors = [torch.from_numpy(given[name]).long() for name in names]
    model = Classifier(settings, 2).eval()
    with torch.no_grad():
        np.save(Path(settings["features"]), model.features(*tensors).numpy())
    report(rows=len(tensors[0]))


if __name__ == "__main__":
    main()
