"""Where the real data sets are, which are not part of the project: tests are skipped without."""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(os.environ.get("TLTOOL_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
