"""`python -m lutum.cli`, the same as `lutum`."""

import sys

from lutum.cli import main

if __name__ == "__main__":
    sys.exit(main())
