"""The database that holds a state: connections, transactions, leases and upgrades."""
