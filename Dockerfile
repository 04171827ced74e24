# One image for every Airflow component of docker-compose.yaml. On x86-64 pip brings torch with
# CUDA, so a worker needs nothing but the driver of its machine; without a GPU the same image works.
FROM python:3.11.15-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/clip/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/clip/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False

RUN useradd --create-home --uid 50000 airflow && install -d -o airflow /opt/airflow /opt/clip
WORKDIR /opt/clip
COPY requirements.txt .
RUN pip install -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY clip_scoring clip_scoring
RUN pip install --no-deps -e .
COPY config config
COPY plugins plugins
COPY dags dags
# By number, so that Kubernetes can see that it is not root.
USER 50000
