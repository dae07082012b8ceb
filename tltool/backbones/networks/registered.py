"""Importing this registers every layer and activation of tltool's that a saved model may name."""

from __future__ import annotations

from tltool.backbones import levels  # noqa: F401 - for what it registers
from tltool.backbones.networks import disentangled, layers  # noqa: F401 - the same
from tltool.tasks import mean_outputs, result_layer  # noqa: F401 - the same
from tltool.tasks.unknown import layers as unknown_layers  # noqa: F401 - the same
