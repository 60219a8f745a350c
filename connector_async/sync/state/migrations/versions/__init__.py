"""The revisions of the state's tables, each as it was when it was made: none reads `schema`."""
