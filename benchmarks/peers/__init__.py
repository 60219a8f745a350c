"""The clients that are compared: each opens a `get` and a `create` of its own against the same server.

Each has its best legitimate settings, with its own retries and its own way to send a token where it has one, and none
of what it would not have in a program: no log, no trace.
"""

from benchmarks.peers.peer import GIVES, Calls, Draft, Peer

__all__ = ["GIVES", "Calls", "Draft", "Peer"]
