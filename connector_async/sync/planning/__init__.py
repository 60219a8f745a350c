"""Planning a sync: what to do with each key, from the source, the state and what the server shows."""
