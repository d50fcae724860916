#!/bin/sh
# As the official image does it: make the data folder as root, become postgres, make the cluster if there is none, start.
set -e
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /run/postgresql
    chown -R postgres:postgres "$PGDATA" /run/postgresql
    chmod 700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username=postgres --auth-local=peer --auth-host=trust --no-sync >/dev/null
    echo 'host all all all trust' >>"$PGDATA/pg_hba.conf"
    echo 'CREATE DATABASE notes' | postgres --single -j postgres >/dev/null
    echo 'CREATE TABLE notes (id serial PRIMARY KEY, said text NOT NULL)' | postgres --single -j notes >/dev/null
fi
exec "$@" -c listen_addresses='*'
