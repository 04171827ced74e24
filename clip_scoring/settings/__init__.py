"""What may be chosen: environment, registrations, options of runs, scorers and files."""
