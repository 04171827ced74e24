"""What scoring needs, examined part by part: checks and what to do about each finding."""
