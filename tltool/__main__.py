"""Makes `python -m tltool` the same as the `tltool` command."""

import sys
from contextlib import suppress
from pathlib import Path

# `-m` has the current folder searched for modules first; the command never does.
with suppress(FileNotFoundError):  # the folder itself may be gone
    if not sys.flags.safe_path and sys.path[0] == str(Path.cwd()):
        del sys.path[0]

from tltool.cli.app import main

main()
