"""Settings: environment, registrations, options of runs, scorers and files."""
