"""Keeping the appointments of many tenants in step with a local source, with every record accounted for."""
