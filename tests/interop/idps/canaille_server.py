"""Canaille as canaille.mjs wants it: in memory, with the client and the people of its first line of input.

Each further line is the login of somebody to lock out; it is repeated when that is done.
"""

import datetime
import json
import sys
import threading

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

settings = json.loads(sys.stdin.readline())

app = create_app(
    {
        "SECRET_KEY": settings["secret"],
        "SERVER_NAME": f"127.0.0.1:{settings['port']}",
        "PREFERRED_URL_SCHEME": "http",
        "CANAILLE": {"DATABASE": "memory", "SMTP": None, "LOGGING": None, "FORCE_HTTPS": False},
        "CANAILLE_OIDC": {
            "ACTIVE_JWKS": [RSAKey.generate_key(2048, auto_kid=True).as_dict(private=True)],
        },
    }
)

with app.app_context():
    backend = Backend.instance
    members = {}
    for person in settings["people"]:
        user = models.User(
            user_name=person["login"],
            password=person["password"],
            formatted_name=person["login"],
            family_name=person["login"],
            emails=[person["email"]],
        )
        backend.save(user)
        for group in person["groups"]:
            members.setdefault(group, []).append(user)
    for name, people in members.items():
        backend.save(models.Group(display_name=name, members=people))
    client = models.Client(
        client_id=settings["client_id"],
        client_secret=settings["client_secret"],
        client_name="mcp-doorman",
        client_uri="https://tools.example.com",
        redirect_uris=settings["redirect_uris"],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        scope=["openid", "profile", "email", "groups", "offline_access"],
        token_endpoint_auth_method="client_secret_basic",
    )
    backend.save(client)
    client.audience = [client]
    backend.save(client)


def lock():
    for line in sys.stdin:
        with app.app_context():
            user = Backend.instance.get(models.User, user_name=line.strip())
            user.lock_date = datetime.datetime.now(datetime.timezone.utc)
            Backend.instance.save(user)
        print(line.strip(), flush=True)


threading.Thread(target=lock, daemon=True).start()
make_server("127.0.0.1", settings["port"], app, threaded=True).serve_forever()
