"""Towers in eight bits by ONNX Runtime, for CPUs."""
