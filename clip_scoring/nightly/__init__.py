"""What is done to runs: plan, score, work, finish, look at them, export and tidy up."""
