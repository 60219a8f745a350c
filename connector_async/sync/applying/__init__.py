"""Applying a plan: operations are sent, lost creates recovered, and every record accounted for."""
