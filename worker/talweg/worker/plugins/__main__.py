"""Loads the plug-ins of this environment: ``python -m talweg.worker.plugins FIRST``."""

import sys

from talweg.worker.plugins.installed import main

main(int(sys.argv[1]))
