"""A logistic regression on what words look like, to compare a model of tags with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tltool.tasks.tags.tagged import Tagged, WordTags

Part = tuple[Sequence[str], Sequence[Tagged]]


def word_features_baseline(labels: Sequence[str], train: Part, test: Part) -> list[WordTags]:
    """The tags that a linear model gives the words of test rows.

    Features: a word, its letters in lower case, its ends of up to three letters and
    its shape, and words and shapes of two neighbours on each side, as are usual
    (Ratinov and Roth 2009, without lists of names and a second pass).

    Args:
        labels: The tags.
        train, test: Texts and their targets.
    """
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.linear_model import SGDClassifier

    from tltool.tasks.tags.decoding import decode, transitions

    hasher = FeatureHasher(1 << 20, input_type="string", alternate_sign=False, dtype=np.float32)
    numbers = {label: number for number, label in enumerate(labels)}
    truth = np.array([numbers[tag] for target in train[1] for tag in target.tags])
    model = SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=10, tol=None, random_state=0)
    model.fit(hasher.transform(_features(*train)), truth)
    features = hasher.transform(_features(*test))
    probabilities = np.zeros((features.shape[0], len(labels)), np.float32)
    probabilities[:, model.classes_] = model.predict_proba(features)
    moves, found, place = transitions(labels), [], 0
    for text, target in zip(*test, strict=True):
        values = probabilities[place : place + len(target.tags)]
        place += len(values)
        tags = decode(values, *moves)
        starts, ends = np.array(target.starts, np.int32), np.array(target.ends, np.int32)
        found.append(WordTags(text, starts, ends, tags, values[np.arange(len(tags)), tags]))
    return found


def _features(texts: Sequence[str], targets: Sequence[Tagged]) -> Iterator[list[str]]:
    for text, target in zip(texts, targets, strict=True):
        words = [text[start:end] for start, end in zip(target.starts, target.ends, strict=True)]
        shapes = [_shape(word) for word in words]
        for place, word in enumerate(words):
            lower = word.lower()
            own = [f"w={word}", f"l={lower}", f"s={shapes[place]}"]
            own += [f"p{n}={lower[:n]}" for n in (1, 2, 3)]
            own += [f"e{n}={lower[-n:]}" for n in (1, 2, 3)]
            for step in (-2, -1, 1, 2):
                if 0 <= place + step < len(words):
                    own.append(f"w{step}={words[place + step].lower()}")
                    own.append(f"s{step}={shapes[place + step]}")
            yield own


def _shape(word: str) -> str:
    """`Xxx9.` of a word, each run of a kind of character once or twice."""
    kinds = "".join(
        "X" if c.isupper() else "x" if c.islower() else "9" if c.isdigit() else "." for c in word
    )
    return "".join(c for i, c in enumerate(kinds) if kinds[max(0, i - 2) : i] != c * 2)
