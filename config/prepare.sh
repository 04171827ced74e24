#!/usr/bin/env bash
# What has to be there before any part of Airflow starts. Repeating it changes nothing.
set -euo pipefail

clip-scoring db upgrade
clip-scoring db roles

python - <<'END'
import os
from contextlib import suppress

import psycopg2
from psycopg2 import errors

connection = psycopg2.connect(os.environ["CLIP_SCORING_DATABASE_URL"])
connection.autocommit = True
cursor = connection.cursor()
with suppress(errors.DuplicateDatabase):
    cursor.execute("CREATE DATABASE airflow")
with suppress(errors.DuplicateObject):
    cursor.execute("CREATE ROLE clip_pages")
cursor.execute("ALTER ROLE clip_pages LOGIN PASSWORD %s", [os.environ["CLIP_READER_PASSWORD"]])
cursor.execute("GRANT clip_reader TO clip_pages")
END

airflow db migrate
airflow pools set gpu "$CLIP_POOL_SLOTS" 'shards at once on this machine'

# Otherwise Airflow makes up the administrator's password and writes it to its log.
umask 077
python -c 'import json, os; print(json.dumps({"admin": os.environ["CLIP_ADMIN_PASSWORD"]}))' \
    > "$AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
