"""The database of a state: connections, transactions, lease and upgrades. Of the state, it knows the schema only."""
