"""Use cases of nightly runs: plan, score, work, finish, show, export and maintain."""
