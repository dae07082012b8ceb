"""A tiny random BERT in the format of the transformers library (and sentence-transformers)."""

from __future__ import annotations

import json

import numpy as np
from safetensors.numpy import save_file
from tiny import TINY_TEXT

VOCABULARY = list(TINY_TEXT.vocabulary)
CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
}


def bert_tensors(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {
        "embeddings.word_embeddings.weight": (len(VOCABULARY), 16),
        "embeddings.position_embeddings.weight": (24, 16),
        "embeddings.token_type_embeddings.weight": (2, 16),
        "pooler.dense.weight": (16, 16),
        "pooler.dense.bias": (16,),
    }
    norms = ["embeddings.LayerNorm"]
    for i in range(2):
        layer = f"encoder.layer.{i}"
        dense = {f"attention.self.{part}": (16, 16) for part in ("query", "key", "value")}
        dense |= {
            "attention.output.dense": (16, 16),
            "intermediate.dense": (32, 16),
            "output.dense": (16, 32),
        }
        for name, shape in dense.items():
            shapes[f"{layer}.{name}.weight"] = shape
            shapes[f"{layer}.{name}.bias"] = shape[:1]
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name in norms:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (16,)
    return {key: rng.normal(0.1, 0.6, shape).astype("float32") for key, shape in shapes.items()}


def save_bert(folder, tensors=None, *, pooling="mean_tokens", tokenizer=None, **config):
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    tokenizer = {"do_lower_case": True, "strip_accents": None, **(tokenizer or {})}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}": True}))
    save_file(tensors or bert_tensors(), folder / "model.safetensors")
    return str(folder)
