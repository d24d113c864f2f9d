"""`python -m gptlib …`: see gptlib/cli.py."""

import sys

from gptlib.cli import main

if __name__ == "__main__":
    sys.exit(main())
