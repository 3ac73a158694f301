"""`python -m repro` is the `repro` command."""

from repro.cli import main

if __name__ == "__main__":
    main(prog_name="repro")
