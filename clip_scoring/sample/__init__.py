"""Captioned scenes of simple shapes: the pictures the embedded weights learn from and the demo."""
