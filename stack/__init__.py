"""PostgreSQL and Airflow on this machine, for `make demo`, `make up` and the tests."""
