"""Unigram contracts for tests, a real character map, and the reference tokenizer."""

from __future__ import annotations

import base64
import io
import random
from functools import cache

from odd_texts import ODD_TEXTS

from tltool.data.preprocessing import UnigramPreprocessing

SPECIAL = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
STEPS = {
    "albert": ("quotes", "strip_accents", "lowercase", "character_map"),
    "xlm-roberta": ("character_map",),
    "deberta": ("strip", "character_map", "collapse_spaces"),
    # As version 5 of the transformers library saves it.
    "later deberta": ("join_white_space", "nfc", "strip_right"),
    "later xlm-roberta": ("character_map", "strip_right", "collapse_spaces"),
    "none": (),
}
# Of each kind that some rule is about: quotes, white space, controls, accents of two and three
# bytes, joiners, ligatures, pictures, marks before a word, Hangul, flags, Indic and Thai marks.
NASTY = (
    "ab1`'\"., \t\n\r▁\0\1\x7f\x85\xa0\xad\xa8\xa9\xae\xaa\xbd"
    "\u0300\u0301\u0308\u0327\u0344\u0345\u0387\u03a3\u0130\u0600\u06dd\u070f\u064b\u0651\u05b0"
    "\u0915\u093c\u094d\u0958\u0e33\u0e40\u1100\u1161\u11a8\uac00\uac01\u1e9e\u1f71"
    "\u2000\u200b\u200d\u2028\u2122\u2126\u212b\u3000\u304b\u3099"
    "\ufb01\ufdfa\ufeff\uff21\uff76\uff9e\ufffd\U0001d15e\U0001d165\U0001f1e9\U0001f1ea"
    "\U0001f468\U0001f600"
)


def nasty_texts(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(NASTY, k=rng.randrange(1, 14))) for _ in range(count)]


@cache
def train_spm(**options):
    """A SentencePiece model of the odd texts: its protobuf message, with the nmt_nfkc map."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    file = io.BytesIO()
    texts = [text[:300] for text in ODD_TEXTS] + ["unaffable words, 1,000 and 11, worded"] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=file,
        vocab_size=400,
        hard_vocab_limit=False,
        minloglevel=3,
        **options,
    )
    message = sentencepiece_model_pb2.ModelProto()
    message.ParseFromString(file.getvalue())
    return message


def charsmap(**options) -> str:
    return base64.b64encode(train_spm(**options).normalizer_spec.precompiled_charsmap).decode()


@cache
def nasty_contract(kind: str, split: str = "whitespace", **changes) -> UnigramPreprocessing:
    """Knows every character of `NASTY` and what may become of it, and many strings of them.

    The scores are few, so that many paths have equal sums.
    """
    import unicodedata

    rng = random.Random(1)
    forms = ("NFC", "NFD", "NFKC", "NFKD")
    known = [unicodedata.normalize(form, NASTY + NASTY.lower()) for form in forms]
    # A few are unknown but in longer pieces.
    everything = sorted({*"".join(known), "▁"} - {" "})
    single = [character for character in everything if character not in "\xbd\u0915b1"]
    longer = {"".join(rng.choices(everything, k=rng.randrange(2, 5))) for _ in range(3000)}
    pieces = [*single, *sorted(longer), "▁a", "▁ab", "abab", "aba", "bab"]
    pieces = list(dict.fromkeys(pieces))
    steps = STEPS[kind]
    return UnigramPreprocessing(
        vocabulary=(*SPECIAL, *pieces),
        scores=(*[0.0] * len(SPECIAL), *(-rng.randrange(1, 20) / 4 for _ in pieces)),
        steps=steps,
        character_map=charsmap() if "character_map" in steps else "",
        split=split,
        unknown_token="<unk>",
        padding_token="<pad>",
        control_tokens=("[MASK]",),
        **changes,
    )


def reference(contract: UnigramPreprocessing):
    """The tokenizer of `tokenizers`, put together as the transformers library does."""
    from tokenizers import (
        Regex,
        Tokenizer,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    made = {
        "quotes": lambda: [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')],
        "strip_accents": lambda: [normalizers.NFKD(), normalizers.StripAccents()],
        "lowercase": lambda: [normalizers.Lowercase()],
        "nfc": lambda: [normalizers.NFC()],
        "join_white_space": lambda: [normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " ")],
        "strip": lambda: [normalizers.Strip()],
        "strip_right": lambda: [normalizers.Strip(left=False, right=True)],
        "character_map": lambda: [
            normalizers.Precompiled(base64.b64decode(contract.character_map))
        ],
        "collapse_spaces": lambda: [normalizers.Replace(Regex(" {2,}"), " ")],
    }
    pairs = list(zip(contract.vocabulary, contract.scores, strict=True))
    ids = {token: index for index, token in enumerate(contract.vocabulary)}
    tokenizer = Tokenizer(models.Unigram(pairs, ids[contract.unknown_token], False))
    steps = [normalizer for step in contract.steps for normalizer in made[step]()]
    tokenizer.normalizer = normalizers.Sequence(steps)
    scheme = "always" if contract.dummy_prefix else "never"
    splits = [pre_tokenizers.Metaspace(prepend_scheme=scheme)]
    if contract.split == "whitespace":
        splits.insert(0, pre_tokenizers.WhitespaceSplit())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
    start, end = contract.start_token, contract.end_token
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[start, "$A", end], special_tokens=[(start, ids[start]), (end, ids[end])]
    )
    tokenizer.enable_truncation(contract.max_length)
    return tokenizer
