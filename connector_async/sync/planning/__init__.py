"""Planning: what differs between the source, the state and the server becomes operations."""
