"""Writes down in Redis what the broker tells it; ends where the broker goes, for its restart policy to bring it back."""

import os

import paho.mqtt.client
import redis

heard = redis.Redis("cache")


def connected(client, userdata, flags, code):
    client.subscribe("notes", qos=1)
    print("listening", flush=True)


def message(client, userdata, message):
    heard.rpush("heard", message.payload)


client = paho.mqtt.client.Client(client_id="listener", clean_session=False)
client.on_connect, client.on_message = connected, message
client.on_disconnect = lambda client, userdata, code: os._exit(3)
client.connect("broker")
client.loop_forever()
