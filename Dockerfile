# Built and run once, by hand, with buildah on a substitute for the base image (Debian 12 and its Python 3.11), because
# no image could be downloaded; never built on the image named here. See docs/other_ways.md.

FROM python:3.11-slim-bookworm AS installed
# The dependencies are in a separate layer, so that they are installed again only when the lock file changes.
# Without --no-deps pip refuses the lock file: prefect requires sqlalchemy[asyncio], which is listed without the extra.
WORKDIR /app
COPY requirements.lock ./
RUN python -m venv /opt/hybrid-ml \
    && /opt/hybrid-ml/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r requirements.lock

FROM python:3.11-slim-bookworm
# LightGBM's wheel does not include OpenMP.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
# Volumes get the owner and permissions of the folders they are mounted on, so these must exist and belong to the user.
RUN useradd --create-home --uid 10001 hybrid_ml \
    && install --directory --owner hybrid_ml --group hybrid_ml /app /app/models /app/.data /home/hybrid_ml/.prefect
COPY --from=installed /opt/hybrid-ml /opt/hybrid-ml
WORKDIR /app
COPY . .
RUN /opt/hybrid-ml/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --editable . \
    && /opt/hybrid-ml/bin/python -m compileall -q flows tasks hybrid_ml deployments
ENV PATH=/opt/hybrid-ml/bin:$PATH PYTHONUNBUFFERED=1
# By number, so that an orchestrator can check that it is not root.
USER 10001:10001
HEALTHCHECK --interval=60s --timeout=10s --start-period=60s --retries=3 CMD ["python", "deployments/service/worker_health.py"]
CMD ["hybrid-ml", "worker"]
