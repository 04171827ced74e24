"""Scores image–caption pairs with CLIP; imports no Airflow."""
