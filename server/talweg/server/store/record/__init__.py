"""The database itself: its schema, its versions, its transactions."""
