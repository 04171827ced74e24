"""PostgreSQL, the one truth about what is done: connections, runs, the sink and the schema."""
