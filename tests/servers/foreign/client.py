"""Clients of the brokers that know nothing of convoke, for its tests: `client.py KIND URL`.

Requests are lines of JSON, each answered by one: {"do": "produce", "topic": …, "key": …, "headers": [[name, value], …], "payload": …}
and {"do": "read", "topic": …}, which answers all that the topic holds. Bytes are text whose characters are the bytes' numbers. A key
or a payload may be null. Names of headers are as they are on the broker.
"""

import json
import os
import sys
from importlib import import_module
from urllib.parse import urlparse

from lacking import Lacking


def bytes_of(text):
    return None if text is None else text.encode("latin-1")


def text_of(data):
    return None if data is None else bytes(data).decode("latin-1")


def answer(client, request):
    what = request.pop("do")
    if what == "produce":
        headers = [(name, bytes_of(value)) for name, value in request["headers"]]
        return client.produce(request["topic"], bytes_of(request["key"]), headers, bytes_of(request["payload"]))
    if what == "read":
        return [
            {"key": text_of(key), "headers": [[name, text_of(value)] for name, value in headers], "payload": text_of(payload)}
            for key, headers, payload in client.read(request["topic"])
        ]
    return getattr(client, what)(**request)


def serve(client):
    print(flush=True)
    for line in sys.stdin:
        try:
            said = {"ok": answer(client, json.loads(line))}
        except Lacking as why:
            said = {"lacking": str(why)}
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), flush=True)
    # What the libraries have running need not end in order.
    os._exit(0)


def main():
    kind, url = sys.argv[1:3]
    client = import_module(f"on_{kind}").Client
    serve(client(urlparse(url)))


if __name__ == "__main__":
    main()
