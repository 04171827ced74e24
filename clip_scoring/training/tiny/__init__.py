"""How the embedded weights are made: a small CLIP trained on rendered scenes."""
