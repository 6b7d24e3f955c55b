#!/bin/bash
# As much of the official image's contract as docker-compose.yml uses: settings are variables
# NEO4J_a_b__c (for a.b_c), and the password of the first start is NEO4J_AUTH=neo4j/PASSWORD.
set -eu
settings=$NEO4J_HOME/conf/neo4j.conf

set_to() {
    touch "$settings"
    sed --in-place "/^$1=/d" "$settings"
    echo "$1=$2" >>"$settings"
}

set_to server.default_listen_address 0.0.0.0
set_to server.directories.run /run
set_to server.directories.logs /logs
for name in $(compgen -e NEO4J_); do
    case $name in
    NEO4J_AUTH | NEO4J_EDITION | NEO4J_HOME) ;;
    *)
        setting=${name#NEO4J_}
        setting=${setting//_/.}
        set_to "${setting//../_}" "${!name}"
        ;;
    esac
done

case ${NEO4J_AUTH:-} in
neo4j/?*) neo4j-admin dbms set-initial-password "${NEO4J_AUTH#neo4j/}" ;;
*)
    echo "NEO4J_AUTH must be neo4j/PASSWORD" >&2
    exit 1
    ;;
esac

if [ "${1:-neo4j}" != neo4j ]; then
    exec "$@"
fi
# Neo4j's own word on how it is to be started, with its settings in mind.
eval "exec $(neo4j console --dry-run)"
