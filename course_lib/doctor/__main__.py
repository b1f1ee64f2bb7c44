"""`python3 -m course_lib.doctor --before-setup`, which the Makefile asks before it installs anything."""

import sys

from .report import main

sys.exit(main(sys.argv[1:]))
