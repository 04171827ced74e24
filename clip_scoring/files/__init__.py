"""A user's own file: its pairs scored, classified, split and reported on, without a database."""
