"""`python -m metaspo`."""

from metaspo.cli import main

main()
