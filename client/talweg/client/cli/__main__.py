"""`python -m talweg.client.cli`."""

from talweg.client.cli import main

main()
