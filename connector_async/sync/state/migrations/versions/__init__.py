"""The revisions of the state's tables. They never change, so none of them imports `schema`."""
