"""``python -m causalppl`` is the command ``causalppl``."""

import sys

from causalppl.cli import main

if __name__ == "__main__":
    sys.exit(main())
