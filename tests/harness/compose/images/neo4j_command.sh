#!/bin/sh
# `neo4j` and `neo4j-admin`, by the name that it is called by.
case "${0##*/}" in
neo4j-admin) main=Neo4jAdminCommand ;;
*) main=Neo4jCommand ;;
esac
exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$NEO4J_HOME/lib/*" \
    "-Dbasedir=$NEO4J_HOME" "org.neo4j.server.startup.$main" "$@"
