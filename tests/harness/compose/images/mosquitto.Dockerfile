# For tests alone: Debian's Mosquitto where `eclipse-mosquitto:2.0` cannot be had.
ARG DEBIAN_IMAGE=lamplighter-test/debian:bookworm
FROM ${DEBIAN_IMAGE}
RUN apt-get -q update \
    && apt-get -q install --yes --no-install-recommends mosquitto \
    && rm -rf /var/lib/apt/lists/*
CMD ["mosquitto"]
