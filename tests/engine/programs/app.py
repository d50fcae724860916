"""Notes: kept in PostgreSQL, counted in Redis, announced through the broker."""

import os

import paho.mqtt.publish
import psycopg2
import redis
from flask import Flask, jsonify, request

app = Flask(__name__)
counters = redis.Redis("cache")


def notes(statement, *values):
    connection = psycopg2.connect(host="database", user="postgres", dbname="notes")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()
    finally:
        connection.close()


@app.get("/health")
def health():
    return "up"


@app.post("/notes")
def add():
    said = request.get_data(as_text=True)
    ((number,),) = notes("INSERT INTO notes (said) VALUES (%s) RETURNING id", said)
    paho.mqtt.publish.single("notes", said, qos=1, hostname="broker")
    return jsonify(id=number), 201


@app.get("/notes")
def show():
    return jsonify(
        notes=[said for (said,) in notes("SELECT said FROM notes ORDER BY id")],
        heard=[one.decode() for one in counters.lrange("heard", 0, -1)],
        visits=counters.incr("visits"),
        user=os.getuid(),
        seen_from=request.headers.get("X-Forwarded-For"),
    )
