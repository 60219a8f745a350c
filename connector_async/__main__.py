"""`python -m connector_async` is the command `connector-async`."""

from connector_async.cli.main import main

if __name__ == "__main__":
    main()
