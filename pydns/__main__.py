"""`python -m pydns`."""

import sys

from pydns.cli.main import main

sys.exit(main())
