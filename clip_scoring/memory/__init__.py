"""The shipped fakes: every port over the database, kept in memory."""
