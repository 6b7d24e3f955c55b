#!/bin/sh
# Mosquitto, and who watches its certificates: provisioning, in another container, can signal nobody
# here. A changed certificate or revocation list is read again on SIGHUP; the authorities only at a
# start (Mosquitto 2.0), as in a rollover: sessions and what waits for them outlive that on the disk.
set -u
files=/private/certificates
settings=/private/mosquitto.conf

sum_of() { cat "$@" 2>/dev/null | cksum; }

start() {
    authorities=$(sum_of "$files/ca.pem")
    lists=$(sum_of "$files/own.pem" "$files/crl.pem")
    mosquitto -c "$settings" &
    broker=$!
}

stop() { kill -TERM "$broker" 2>/dev/null; wait "$broker"; }

trap 'stop; exit 0' TERM INT
start
while kill -0 "$broker" 2>/dev/null; do
    sleep 1 &
    wait $!
    if [ "$(sum_of "$files/ca.pem")" != "$authorities" ]; then
        echo "the authorities have changed: Mosquitto starts anew" >&2
        stop
        start
    elif [ "$(sum_of "$files/own.pem" "$files/crl.pem")" != "$lists" ]; then
        echo "certificates have changed: Mosquitto reads them again" >&2
        lists=$(sum_of "$files/own.pem" "$files/crl.pem")
        kill -HUP "$broker"
    fi
done
wait "$broker"
