"""``python -m micronode`` is ``micronode``."""

import sys

from micronode.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
