"""`python -m compare` is `gradtwin`."""

from compare.cli import main

main()
