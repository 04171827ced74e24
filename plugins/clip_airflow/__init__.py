"""The Airflow binding: context in, library call, counts out."""
