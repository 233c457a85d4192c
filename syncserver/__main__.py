"""`python -m syncserver` is the command `syncserver`."""

from syncserver.app.cli import main

if __name__ == "__main__":
    main()
