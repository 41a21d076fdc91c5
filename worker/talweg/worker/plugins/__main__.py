"""Loads the plug-ins of this environment: ``python -m talweg.worker.plugins PARENT FIRST``."""

import sys

from talweg.worker.plugins.installed import main

main(*map(int, sys.argv[1:]))
