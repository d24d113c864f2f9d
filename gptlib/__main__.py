"""`python -m gptlib …`: see gptlib/cli/main.py."""

import sys

from gptlib.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
