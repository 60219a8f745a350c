"""The `connector-async` command: one module for each group of commands, named like the group.

`main` is the entry point and `commands` the list of all commands. The rest of the package does not know this one.
"""
