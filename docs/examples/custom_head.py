"""A head of your own: attention over the tokens in place of their mean.

    python docs/examples/custom_head.py                        # all-MiniLM-L6-v2, sample tweets
    python docs/examples/custom_head.py --backbone FOLDER --data texts.csv

A head is a function of the backbone's features and the task. It returns raw outputs
(logits): one for each class, or one number for regression.
"""

from __future__ import annotations

import argparse

import keras
from keras import ops

import tltool


@keras.saving.register_keras_serializable("custom_head")
class TokenAttention(keras.layers.Layer):
    """Learns how much each token counts, and sums the tokens by that."""

    def build(
        self, sequence_shape: tuple[int | None, ...], padding_mask_shape: tuple[int | None, ...]
    ) -> None:
        """Makes the one weight: the direction in which a token counts much."""
        self.direction = self.add_weight(shape=(sequence_shape[-1], 1), name="direction")

    def call(
        self, sequence: keras.KerasTensor, padding_mask: keras.KerasTensor
    ) -> keras.KerasTensor:
        """From (batch, tokens, channels) to (batch, channels); padding counts nothing."""
        scores = ops.squeeze(ops.matmul(sequence, self.direction), -1)
        scores = ops.where(ops.cast(padding_mask, "bool"), scores, -1e9)
        return ops.sum(ops.expand_dims(ops.softmax(scores), -1) * sequence, axis=1)


@tltool.register_head("token_attention")
def token_attention(
    features: tltool.Features, task: tltool.Task, *, dropout: float = 0.1
) -> keras.KerasTensor:
    """Attention over the tokens, dropout, one linear layer."""
    x = TokenAttention(name="head_attention")(features.sequence, features.mask)
    x = keras.layers.Dropout(dropout, name="head_dropout")(x)
    return keras.layers.Dense(task.num_outputs, dtype="float32", name="head_output")(x)


def main() -> None:
    """Fine-tunes with the head and prints what it reached."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backbone", default="all-minilm-l6-v2")
    parser.add_argument("--data", default="sample:airline-tweets")
    parser.add_argument("--runs", default="runs")
    options = parser.parse_args()

    recipe = tltool.Recipe.of(
        task="text-classification",
        name="custom-head",
        data={"train": options.data, "max_examples": 1000, "test_fraction": 0.2},
        backbone=options.backbone,
        head={"name": "token_attention", "options": {"dropout": 0.2}},
        schedule=[{"train": "head", "epochs": 5, "learning_rate": 0.01}],
        export={"formats": ["litert"]},
        output_dir=options.runs,
    )
    run = tltool.finetune(recipe)
    print(f"accuracy {run.metrics['test']['accuracy']:.3f}, run in {run.path}")


if __name__ == "__main__":
    main()
