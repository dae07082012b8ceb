from __future__ import annotations

import subprocess
import sys

import pytest

from tltool.backbones.catalog import ModelCard, find_card, get_card, list_cards
from tltool.support.errors import BackboneError
from tltool.support.shipped import shipped_dir


def test_every_card_in_the_folder_is_listed():
    assert {card.name for card in list_cards()} == {
        path.stem for path in shipped_dir("models").glob("*.yaml")
    }


def test_offline_cards_come_first_and_serve_both_modalities():
    cards = list_cards()
    offline = [card for card in cards if card.works_offline]
    assert cards[: len(offline)] == tuple(offline)
    assert {card.modality for card in offline} == {"image", "text"}
    assert all(card.input is not None for card in offline)


def test_unknown_name_offers_the_closest():
    with pytest.raises(BackboneError) as caught:
        get_card("all-minilm-l6-v3")
    assert caught.value.hint == "did you mean `all-minilm-l6-v2`?"
    assert find_card("all-minilm-l6-v3") is None


def test_summaries_are_readable():
    for card in list_cards():
        assert card.input_summary
        assert card.source_summary.startswith(("wheel", "KerasHub", "keras.applications."))


def test_card_without_a_checksum_is_not_a_card():
    fields = get_card("efficientnet-lite0").model_dump()
    fields["source"]["sha256"] = "latest"
    with pytest.raises(ValueError, match="sha256"):
        ModelCard.model_validate(fields)


def test_listing_imports_nothing_heavy():
    code = (
        "import sys; from tltool.backbones.catalog import list_cards; list_cards();"
        "sys.exit(', '.join({'numpy', 'keras', 'tensorflow'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
