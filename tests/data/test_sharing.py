"""Two processes that share the reading of the data, as two threads: both get what one reads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny

from tltool.data.checks.fingerprints import content_digests, with_contents
from tltool.data.checks.summary import describe
from tltool.data.examples import Examples
from tltool.data.images.store import ImageStore
from tltool.data.reading.sources import load_examples
from tltool.data.sharing import Sharing
from tltool.data.texts import tokenizing
from tltool.data.texts.tokenizing import tokens_of
from tltool.recipe.schema import DataSection
from tltool.tasks.table import TASKS


class Meeting:
    """Where two threads meet; notes what each brought."""

    def __init__(self):
        self.barrier = threading.Barrier(2, timeout=60)
        self.brought = [[], []]

    def exchange(self, index, value):
        self.brought[index].append(value)
        self.barrier.wait()
        other = self.brought[1 - index][-1]
        self.barrier.wait()
        return other


class OneOfTwo(Sharing):
    def __init__(self, index, meeting):
        self.index, self.meeting = index, meeting

    def own(self, rows):
        return range(self.index, len(rows), 2)

    def part(self, count):
        return range(count // 3) if self.index == 0 else range(count // 3, count)

    def summed(self, what, values):
        values += self.meeting.exchange(self.index, values.copy())

    def united(self, what, values):
        return values | self.meeting.exchange(self.index, set(values))


def by_two(work):
    """What a function of `Sharing` gives in each of two threads, and what each brought."""
    meeting = Meeting()
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda index: work(OneOfTwo(index, meeting)), range(2)))
    return found, meeting.brought


def rows_of(values):
    """Rows that somebody has worked on."""
    return set(np.flatnonzero(values.reshape(len(values), -1).any(axis=1)).tolist())


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tiny.write_images(tmp_path_factory.mktemp("shared") / "photos", per_class=4)
    return load_examples(DataSection(train=str(folder)), TASKS["image-classification"])


def test_each_reads_its_share_of_the_files(photos):
    found, brought = by_two(lambda sharing: with_contents(photos, sharing=sharing).contents)
    alone = content_digests(photos)
    for contents in found:
        np.testing.assert_array_equal(contents, alone)
    assert [rows_of(values) for (values,) in brought] == [
        set(range(0, len(photos), 2)), set(range(1, len(photos), 2))
    ]  # fmt: skip


def test_each_reads_the_sizes_of_its_share(photos):
    whole = with_contents(photos)
    found, brought = by_two(lambda sharing: describe(whole, sharing=sharing))
    assert found == [describe(whole)] * 2
    assert found[0]["image_width_px"]["median"] == 48
    assert rows_of(brought[1][0]) == set(range(1, len(photos), 2))


def test_each_decodes_its_share_of_the_images(photos):
    contract = tiny.TINY_IMAGE
    store = ImageStore(photos.inputs, photos.origins, contract)
    found, brought = by_two(store.load_all)
    alone = store.load_all()
    for images in found:
        np.testing.assert_array_equal(images, alone)
    assert sum(len(rows_of(values)) for (values,) in brought) <= len(photos)
    formats, looked = by_two(lambda sharing: bool(store.reader(sharing)))
    assert formats == [True, True]
    assert looked == [[{"JPEG"}], [{"JPEG"}]]


def test_each_tokenizes_its_share_of_the_texts(monkeypatch):
    inputs, _ = tiny.texts(30)
    rows = Examples("text", inputs, inputs, [None] * 30, inputs)
    alone = tokens_of(rows, tiny.TINY_TEXT)
    monkeypatch.setattr(tokenizing, "_ROWS", 8)
    found, brought = by_two(lambda sharing: tokens_of(rows, tiny.TINY_TEXT, sharing=sharing))
    for tokens in found:
        for name in ("values", "starts", "lengths"):
            np.testing.assert_array_equal(getattr(tokens, name), getattr(alone, name))
    assert [rows_of(kept) for kept, *_ in brought] == [set(range(10)), set(range(10, 30))]


def test_few_texts_are_tokenized_by_each():
    inputs, _ = tiny.texts(30)
    rows = Examples("text", inputs, inputs, [None] * 30, inputs)
    found, brought = by_two(lambda sharing: tokens_of(rows, tiny.TINY_TEXT, sharing=sharing))
    assert len(found[0]) == len(found[1]) == 30
    assert brought == [[], []]
