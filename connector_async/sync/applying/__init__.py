"""Applying: operations are sent, lost creates recovered, and every record is accounted for."""
