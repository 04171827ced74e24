"""Pages in the Airflow UI: how the runs went, read by people who look in the morning."""
