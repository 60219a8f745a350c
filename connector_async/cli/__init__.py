"""The `connector-async` command. It knows the whole package, and nothing of the package knows it."""
