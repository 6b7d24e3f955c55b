# For tests alone: Neo4j of the jars that Maven Central has, where `neo4j:5-community` cannot be had.
# What runs is Neo4j's own server, started and configured by its own commands. Folders, settings by
# environment and the entry point are where the official image has them; plugins and the browser's
# pages are not there.
ARG DEBIAN_IMAGE=lamplighter-test/debian:bookworm
FROM ${DEBIAN_IMAGE}
RUN apt-get -q update \
    && apt-get -q install --yes --no-install-recommends openjdk-17-jre-headless \
    && rm -rf /var/lib/apt/lists/*
ENV NEO4J_HOME=/var/lib/neo4j NEO4J_EDITION=community LANG=C.UTF-8
ENV PATH=${NEO4J_HOME}/bin:${PATH}
RUN groupadd --system --gid 7474 neo4j \
    && useradd --system --uid 7474 --gid 7474 --no-create-home --home-dir "$NEO4J_HOME" neo4j \
    && install --directory --mode=0777 --owner=7474 --group=7474 \
        "$NEO4J_HOME" "$NEO4J_HOME/conf" "$NEO4J_HOME/run" "$NEO4J_HOME/plugins" /data /logs \
    && ln -s /data "$NEO4J_HOME/data" \
    && ln -s /logs "$NEO4J_HOME/logs"
COPY neo4j_entrypoint.sh /startup/docker-entrypoint.sh
COPY neo4j_command.sh ${NEO4J_HOME}/bin/neo4j
RUN ln -s neo4j "$NEO4J_HOME/bin/neo4j-admin"
COPY lib ${NEO4J_HOME}/lib
WORKDIR ${NEO4J_HOME}
VOLUME /data /logs
EXPOSE 7474 7687
ENTRYPOINT ["/startup/docker-entrypoint.sh"]
CMD ["neo4j"]
