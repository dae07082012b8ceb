"""Tokenizer folders of the transformers library, of small SentencePiece models."""

from __future__ import annotations

import json

from unigrams import train_spm

# How the models of each family were trained, as far as ids and pieces go.
TRAINED = {
    "albert": {
        "pad_id": 0,
        "unk_id": 1,
        "bos_id": -1,
        "eos_id": -1,
        "control_symbols": "[CLS],[SEP],[MASK]",
        "user_defined_symbols": "(,),.,-",
    },
    "xlm-roberta": {},
    "camembert": {},
    "deberta-v2": {
        "pad_id": 0,
        "bos_id": 1,
        "eos_id": 2,
        "unk_id": 3,
        "pad_piece": "[PAD]",
        "bos_piece": "[CLS]",
        "eos_piece": "[SEP]",
        "unk_piece": "[UNK]",
    },
}
FILES = {
    "albert": "spiece.model",
    "xlm-roberta": "sentencepiece.bpe.model",
    "camembert": "sentencepiece.bpe.model",
    "deberta-v2": "spm.model",
}
SPECIAL = {
    "albert": ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"),
    "xlm-roberta": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
    "camembert": ("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<s>", "</s>", "<mask>"),
    "deberta-v2": ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"),
}


def model_of(family):
    return train_spm(**TRAINED[family])


def write_spm(folder, family, **options):
    """A folder with SentencePiece's file alone."""
    folder.mkdir(exist_ok=True)
    (folder / FILES[family]).write_bytes(model_of(family).SerializeToString())
    (folder / "tokenizer_config.json").write_text(json.dumps(options))
    return folder


def write_json(folder, family, **options):
    """A folder with a `tokenizer.json` alone."""
    folder.mkdir(exist_ok=True)
    converted(family).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(options))
    return folder


def scored(family):
    """Tokens and scores in the order of the ids of the transformers library."""
    pieces = [(piece.piece, piece.score) for piece in model_of(family).pieces]
    if family == "albert":
        kept = [len(p) < 2 or p[-1] != "," or not p[-2].isdigit() for p, _ in pieces]
        return [(p, s if k else s - 100) for (p, s), k in zip(pieces, kept, strict=True)]
    if family == "xlm-roberta":
        first = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
        return [*first, *pieces[3:], ("<mask>", 0.0)]
    if family == "camembert":
        first = [(token, 0.0) for token in ("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>")]
        return [*first, ("<unk>NOTUSED", -100.0), *pieces[1:], ("<mask>", 0.0)]
    return pieces


def converted(family):
    """The fast tokenizer that the library's `convert_slow_tokenizer` makes."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    vocabulary = scored(family)
    names = [token for token, _ in vocabulary]
    unknown = names.index("[UNK]" if family == "deberta-v2" else "<unk>")
    tokenizer = Tokenizer(models.Unigram(vocabulary, unknown, False))
    tokenizer.add_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIAL[family]]
    )
    charsmap = normalizers.Precompiled(model_of(family).normalizer_spec.precompiled_charsmap)
    collapse = normalizers.Replace(Regex(" {2,}"), " ")
    if family == "albert":
        quotes = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
        plain = [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
        steps = [*quotes, *plain, charsmap, collapse]
    elif family == "deberta-v2":
        steps = [normalizers.Strip(), charsmap, collapse]
    else:
        steps = [charsmap]
    tokenizer.normalizer = normalizers.Sequence(steps)
    mark = pre_tokenizers.Metaspace(prepend_scheme="always")
    splits = [mark] if family == "deberta-v2" else [pre_tokenizers.WhitespaceSplit(), mark]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
    start, end = ("[CLS]", "[SEP]") if "[CLS]" in names else ("<s>", "</s>")
    between = f"{end}:0" if start == "[CLS]" else f"{end}:0 {end}:0"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start}:0 $A:0 {end}:0",
        pair=f"{start}:0 $A:0 {between} $B:1 {end}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (start, end)],
    )
    return tokenizer
