"""Every byte in or out of a database or a file."""
