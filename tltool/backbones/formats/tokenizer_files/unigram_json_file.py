"""Reads a Unigram `tokenizer.json` of Hugging Face's `tokenizers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tltool.data.preprocessing import NormalizationStep, UnigramPreprocessing
from tltool.data.texts.tokenizers.unigram_json import NORMALIZERS
from tltool.support.errors import BackboneError

# What changes nothing where texts are split at white space afterwards.
_TRIMS: frozenset[NormalizationStep] = frozenset({"strip", "strip_right", "collapse_spaces"})
_TO_MARK = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}


def is_unigram_json(content: Mapping[str, Any]) -> bool:
    """Whether it holds a Unigram model."""
    model = content.get("model")
    # The first versions of the format did not name the model.
    return isinstance(model, dict) and (
        model.get("type") == "Unigram" or ("type" not in model and "unk_id" in model)
    )


def json_contract(
    content: Mapping[str, Any], padding: str | None, path: Path
) -> UnigramPreprocessing:
    """The contract of a `tokenizer.json`; `max_length` and `inputs` are the defaults.

    Args:
        content: Of the file.
        padding: The padding token, which the file need not name.
        path: Of the file, for messages.

    Raises:
        BackboneError: It does something that tltool does not.
    """
    try:
        return _contract(content, padding, path)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise BackboneError(f"{path} is damaged: {error!r}.") from error


def _contract(content: Mapping[str, Any], padding: str | None, path: Path) -> UnigramPreprocessing:
    model = content["model"]
    if model.get("byte_fallback"):
        raise _unsupported(path, "it spells unknown characters in bytes (byte_fallback)")
    tokens, special = _tokens(model["vocab"], content.get("added_tokens") or [], path)
    names = [token for token, _ in tokens]
    unknown = names[model["unk_id"]]
    split, dummy_prefix = _split(content["pre_tokenizer"], path)
    steps, character_map = _steps(content.get("normalizer"), split, path)
    start, end = _enclosing(content.get("post_processor"), path)
    padding = padding or (content.get("padding") or {}).get("pad_token")
    if padding not in names:
        raise BackboneError(
            f"{path}: the padding token {padding!r} is not in the vocabulary.",
            hint="name it as pad_token in tokenizer_config.json",
        )
    return UnigramPreprocessing(
        vocabulary=tuple(names),
        scores=tuple(float(score) for _, score in tokens),
        steps=steps,
        character_map=character_map,
        split=split,
        dummy_prefix=dummy_prefix,
        unknown_token=unknown,
        start_token=start,
        end_token=end,
        separators=_separators(content["post_processor"], end),
        padding_token=padding,
        control_tokens=tuple(t for t in special if t not in {unknown, start, end, padding}),
    )


def _tokens(
    vocabulary: Sequence[Any], added: Sequence[Mapping[str, Any]], path: Path
) -> tuple[list[tuple[str, float]], list[str]]:
    """All tokens by id with their scores, and those that are special."""
    tokens = [(token, score) for token, score in vocabulary]
    added = sorted(added, key=lambda token: token["id"])
    for token in added:
        name, token_id = token["content"], token["id"]
        if not token["special"]:
            raise _unsupported(path, f"it cuts texts at the added token {name!r} (not special)")
        if token_id == len(tokens):
            tokens.append((name, 0.0))
        if token_id > len(tokens) or tokens[token_id][0] != name:
            raise _unsupported(path, f"the added token {name!r} has the id {token_id}")
    return tokens, [token["content"] for token in added]


def _flat(part: Any, inside: str) -> list[dict[str, Any]]:
    """The members of a part that may be a sequence of others, or missing."""
    if part is None:
        return []
    if part["type"] == "Sequence":
        return [member for one in part[inside] for member in _flat(one, inside)]
    return [part]


def _split(part: Any, path: Path) -> tuple[Literal["whitespace", "spaces"], bool]:
    """How words are split, and whether they get a dummy prefix."""
    parts = _flat(part, "pretokenizers")
    white = bool(parts) and parts[0] == {"type": "WhitespaceSplit"}
    rest = parts[1:] if white else parts
    if len(rest) != 1 or rest[0]["type"] != "Metaspace":
        kinds = [part["type"] for part in parts]
        raise _unsupported(path, f"its pre_tokenizer is {kinds}")
    (mark,) = rest
    scheme = mark.get("prepend_scheme", "always" if mark.get("add_prefix_space") else "never")
    # The first word of the text only; where all of the text is one word yet, it is the same.
    known = {"always": True, "never": False} | ({} if white else {"first": True})
    if mark["replacement"] != "▁" or not mark.get("split", True) or scheme not in known:
        raise _unsupported(path, f"its Metaspace is {mark}")
    return ("whitespace" if white else "spaces"), known[scheme]


def _steps(
    part: Any, split: Literal["whitespace", "spaces"], path: Path
) -> tuple[tuple[NormalizationStep, ...], str]:
    """The steps of the normalizer, and the character map."""
    parts = _flat(part, "normalizers")
    steps: list[NormalizationStep] = []
    character_map = ""
    while parts:
        if parts[0]["type"] == "Precompiled" and not character_map:
            steps.append("character_map")
            character_map = parts.pop(0)["precompiled_charsmap"]
            continue
        # Spaces become ▁ later on, if texts are split at spaces.
        if parts[0] == _TO_MARK and split == "spaces":
            parts[0] = {**_TO_MARK, "content": " "}
        step = _known_step(parts)
        if step is None:
            raise _unsupported(path, f"its normalizer has the part {parts[0]}")
        steps.append(step)
        del parts[: len(NORMALIZERS[step])]
    while split == "whitespace" and steps and steps[-1] in _TRIMS:
        steps.pop()
    return tuple(steps), character_map


def _known_step(parts: Sequence[Mapping[str, Any]]) -> NormalizationStep | None:
    """The step that the first of the parts are."""
    for step, made in NORMALIZERS.items():
        if tuple(parts[: len(made)]) == made:
            return step
    return None


def _enclosing(part: Any, path: Path) -> tuple[str, str]:
    """The tokens before and after a text."""
    kind = part["type"] if part else None
    if kind in {"RobertaProcessing", "BertProcessing"}:
        return part["cls"][0], part["sep"][0]
    single = part["single"] if kind == "TemplateProcessing" else []
    if [next(iter(one)) for one in single] != ["SpecialToken", "Sequence", "SpecialToken"]:
        raise _unsupported(path, f"its post_processor is {part}")
    names = [one["SpecialToken"]["id"] for one in (single[0], single[2])]
    (start,), (end,) = (part["special_tokens"][name]["tokens"] for name in names)
    return start, end


def _separators(part: Mapping[str, Any], end: str) -> Literal[1, 2]:
    """The end tokens between the texts of a pair."""
    if part["type"] == "RobertaProcessing":
        return 2
    names = [one.get("SpecialToken", {}).get("id", "") for one in part.get("pair", ())]
    texts = [place for place, name in enumerate(names) if not name]
    between = names[texts[0] + 1 : texts[1]] if len(texts) == 2 else []
    return 2 if between == [end, end] else 1


def _unsupported(path: Path, what: str) -> BackboneError:
    return BackboneError(
        f"{path}: {what}, which tltool does not do.",
        hint="loading it anyway would give other tokens than the original's",
    )
