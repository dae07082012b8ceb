"""A tiny random RoBERTa in the format of the transformers library, with a trained vocabulary."""

from __future__ import annotations

import json

from byte_pairs import SPECIAL, reference, trained_contract
from golden_folders import golden

from tltool.backbones import check

SIZE = 400


def write_roberta(folder, *, whole=False, settings=None, **config):
    """Writes the golden RoBERTa with the vocabulary of `trained_contract`; returns its contract.

    Args:
        folder: Made where it is missing.
        whole: Whether its tokenizer is a `tokenizer.json`, or two files.
        settings: Of `tokenizer_config.json`; none where it is None.
        config: Changes of `config.json`.
    """
    folder.mkdir(exist_ok=True)
    contract = trained_contract(SIZE)
    case = golden("transformers")["roberta"]
    rows = len(contract.vocabulary)
    shapes = {**case["shapes"], "embeddings.word_embeddings.weight": [rows, 48]}
    config = {**case["config"], "vocab_size": rows, **config}
    check.write_seeded_folder(folder, {**case, "shapes": shapes, "config": config})
    if whole:
        write_tokenizer_json(folder, contract)
    else:
        write_two_files(folder, contract)
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return contract


def write_two_files(folder, contract):
    """The vocabulary as `vocab.json` and `merges.txt`."""
    ids = {token: number for number, token in enumerate(contract.vocabulary)}
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    lines = "\n".join(["#version: 0.2", *contract.merges, ""])
    (folder / "merges.txt").write_text(lines, encoding="utf-8")


def write_tokenizer_json(folder, contract, change=None):
    """The vocabulary as `tokenizer.json`, special tokens added, as the library itself writes it."""
    tokenizer = reference(contract)
    tokenizer.no_truncation()
    tokenizer.add_special_tokens(list(SPECIAL))
    content = json.loads(tokenizer.to_str())
    if change is not None:
        change(content)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink(missing_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
