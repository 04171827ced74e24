"""Who takes part in a race: each in a process of its own, warm, running when it is told to."""
