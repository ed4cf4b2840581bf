"""`python -m prunable` is the `prunable` command."""

from prunable.cli.app import main

if __name__ == "__main__":
    main()
