"""The only place that computes with torch, and the embedded default weights."""
