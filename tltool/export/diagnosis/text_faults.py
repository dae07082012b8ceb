"""The known faults of apps that feed texts."""

from __future__ import annotations

from collections.abc import Iterator

from tltool.data.preprocessing import (
    BytePairPreprocessing,
    TextPreprocessing,
    WordPiecePreprocessing,
)
from tltool.export.diagnosis.faults import Fault

_LENGTHS = (16, 32, 64, 128, 256)


def text_faults(contract: TextPreprocessing, length: int | None) -> Iterator[Fault]:
    """Every known fault, with its cure in the values of a model.

    Args:
        contract: How texts should be prepared.
        length: Tokens that the model takes; None for any number.
    """
    yield from _spelling(contract)
    yield from _tokens(contract)
    yield from _cuts(contract, length)
    yield from _inputs(contract)
    if contract.pair is not None:
        yield Fault(
            "pair_order",
            "the second text of a pair comes first",
            "give `text_a` first, `text_b` second",
            {"second_first": True},
            likely=True,
        )


def _spelling(contract: TextPreprocessing) -> Iterator[Fault]:
    lower = "the texts are lower-cased, which the model's tokenizer does not do"
    stripped = "accents are dropped, which the model's tokenizer does not do"
    if not isinstance(contract, WordPiecePreprocessing):
        by_itself = "give the tokenizer of `tokenizer.json` each text as it is"
        yield Fault("case", lower, by_itself, {"letters": "lower"}, likely=True)
        yield Fault("accents", stripped, by_itself, {"accents": "strip"}, likely=True)
        return
    for key, name, field, to_do in (
        ("case", "lowercase", "rules", "lower-case"),
        ("accents", "strip_accents", "accent_rules", "drop the accents of"),
    ):
        done = getattr(contract, name)
        yield Fault(
            key,
            (
                f"the tokenizer does not {to_do} the texts"
                if done
                else (lower if key == "case" else stripped)
            ),
            f"{'' if done else 'do not '}{to_do} texts before they are split into tokens "
            f"(`{name}` is {str(done).lower()} in `contract.json`)",
            {field: {name: not done}},
            likely=True,
        )


def _tokens(contract: TextPreprocessing) -> Iterator[Fault]:
    start, end = contract.start_token, contract.end_token
    yield Fault(
        "special_tokens",
        f"the tokens {start} and {end} are missing",
        f"put {start} before the tokens of a text and {end} after them",
        {"special": False},
        likely=True,
    )
    yield Fault(
        "ids_shifted",
        "the token ids are too large by one",
        "the first line of the vocabulary is token 0",
        {"shift": 1},
    )
    if isinstance(contract, WordPiecePreprocessing):
        yield Fault(
            "whole_words",
            "the texts are split at spaces alone, and words are looked up whole",
            "split punctuation off, and words into the longest pieces of `vocab.txt`, as `words` "
            "and `word_pieces` in the export's programs do",
            {"whole_words": True},
        )
    if isinstance(contract, BytePairPreprocessing):
        begins = contract.add_prefix_space
        yield Fault(
            "prefix_space",
            f"a text is given {'no' if begins else 'a'} space at its beginning",
            f"set `add_prefix_space` to {str(begins).lower()}, as `tokenizer.json` has it",
            {"rules": {"add_prefix_space": not begins}},
        )


def _cuts(contract: TextPreprocessing, length: int | None) -> Iterator[Fault]:
    most = min(length or contract.max_length, contract.max_length)
    cure = (
        f"cut a text to {most} tokens with {contract.start_token} and {contract.end_token} among "
        "them: drop its last tokens, then put the end token"
    )
    if contract.pair == "joined":
        cure += "; of a pair cut the longer text first"
    titles = {
        "all": "long texts are cut after the end token is put, which is lost",
        "start": "long texts lose their first tokens, not their last",
    }
    for how, title in titles.items():
        yield Fault("truncation", title, cure, {"cut": how}, likely=True)
    for shorter in (n for n in _LENGTHS if n < most):
        title = f"texts are cut to {shorter} tokens"
        yield Fault("truncation", title, cure, {"longest": shorter})


def _inputs(contract: TextPreprocessing) -> Iterator[Fault]:
    padding = contract.vocabulary.index(contract.padding_token)
    yield Fault(
        "padding_side",
        "the padding comes before the text",
        'put the padding after the text (`padding_side = "right"`)',
        {"left": True},
        likely=True,
    )
    for other in sorted({0, 1} - {padding}):
        yield Fault(
            "padding_token",
            f"the padding is token {other}",
            f"pad `token_ids` with {padding}, {contract.padding_token}",
            {"padding": other},
            likely=other == 0,
        )
    if "padding_mask" in contract.inputs:
        yield Fault(
            "mask",
            "the mask does not leave out the padding",
            "`padding_mask` (or attention_mask) is 1 for the tokens of the text and 0 for padding",
            {"mask": 1},
            likely=True,
        )
    if "segment_ids" in contract.inputs:
        pair = contract.pair == "joined"
        cure = "`segment_ids` (or token_type_ids) are 0" + (
            f", and 1 for the tokens after the first {contract.end_token}, the last one too"
            if pair and contract.separators == 1
            else " everywhere"
        )
        for value in (0, 1) if pair else (1,):
            title = f"the token type ids are {value} everywhere"
            yield Fault("token_types", title, cure, {"segments": value}, likely=True)
