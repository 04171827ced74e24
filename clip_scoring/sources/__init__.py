"""Registered places that pending records come from: tables, buckets and files."""
