"""What several files serve."""

from __future__ import annotations

import pytest
import trained
from served import export_tiny


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """A tiny trained model of texts, and its export folder, which no test may change."""
    made = trained.text_classifier()
    return made, export_tiny(made, tmp_path_factory.mktemp("text") / "export")
