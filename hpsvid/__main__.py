"""`python -m hpsvid`."""

from hpsvid.cli import main

main()
