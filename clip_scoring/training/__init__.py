"""How the embedded default weights come about, and how good they are."""
