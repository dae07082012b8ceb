"""A small byte-pair vocabulary trained by the `tokenizers` package, and its own tokenizer."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from odd_texts import ODD_TEXTS

from tltool.data.preprocessing import BytePairPreprocessing

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


@cache
def trained_contract(size: int = 1500) -> BytePairPreprocessing:
    """RoBERTa's special tokens, all bytes, and merges learnt from the project's own README."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(SPECIAL),
        show_progress=False,
    )
    tokenizer.train_from_iterator([readme, *ODD_TEXTS], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary = tuple(sorted(model["vocab"], key=model["vocab"].get))
    return BytePairPreprocessing(
        vocabulary=vocabulary, merges=tuple(" ".join(pair) for pair in model["merges"])
    )


def reference(contract: BytePairPreprocessing):
    """The `tokenizers` package's own, with special tokens added and no text taken for one."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    ids = {token: i for i, token in enumerate(contract.vocabulary)}
    merges = [tuple(merge.split(" ")) for merge in contract.merges]
    tokenizer = Tokenizer(models.BPE(ids, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=contract.add_prefix_space)
    tokenizer.post_processor = processors.RobertaProcessing(
        *((token, ids[token]) for token in (contract.end_token, contract.start_token)),
        add_prefix_space=contract.add_prefix_space,
    )
    tokenizer.enable_truncation(contract.max_length)
    return tokenizer
