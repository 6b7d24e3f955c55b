# For tests alone: Debian's Python where `python:3.11-slim` cannot be had.
ARG DEBIAN_IMAGE=lamplighter-test/debian:bookworm
FROM ${DEBIAN_IMAGE}
RUN apt-get -q update \
    && apt-get -q install --yes --no-install-recommends python3.11 python3-venv ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && ln -s /usr/bin/python3.11 /usr/local/bin/python
# Where the registries of packages are reached through an authority of the place's own.
COPY authorities.pem /etc/ssl/certs/ca-certificates.crt
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
