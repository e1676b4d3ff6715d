"""`python -m emdsl`."""

from emdsl.cli.main import main

if __name__ == "__main__":
    main()
