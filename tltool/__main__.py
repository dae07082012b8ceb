"""Makes `python -m tltool` the same as the `tltool` command."""

from tltool.cli.app import main

main()
