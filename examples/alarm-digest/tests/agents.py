"""Agents and the notification service, which know nothing of convoke: `agents.py URL USERS ALARMS SEED`.

Publishes the changes of alarms as bare JSON, shuffled, each up to three times, and requests among them: a fifth of them for each line
that it reads. Then asks and reads until every active alarm is told, and prints what users were told as a line of JSON.
"""

import json
import pathlib
import random
import sys
import time
import uuid
from urllib.parse import urlparse

sys.path.insert(0, str(pathlib.Path(__file__).parents[3] / "tests/servers/foreign"))
from on_nats import Client  # noqa: E402

PARTS = 5
SEVERITY = ["CLEARED", "WARNING", "CRITICAL"]


def scenario(users, alarms, dice):
    changes = []
    for _ in range(users):
        user = str(uuid.UUID(int=dice.getrandbits(128)))
        for _ in range(alarms):
            alarm, second = str(uuid.UUID(int=dice.getrandbits(128))), 0
            for _ in range(dice.randint(1, 2)):
                second += dice.randint(1, 59)
                time_ = f"2026-11-03T14:{dice.randint(10, 11)}:{second % 60:02}.{dice.randrange(10**9):09}Z"
                change = {"AlarmID": alarm, "UserID": user, "Status": dice.choice(SEVERITY), "ChangedAt": time_}
                changes += [change] * dice.randint(1, 3)
    dice.shuffle(changes)
    return changes


def order(change):
    return change["ChangedAt"], SEVERITY.index(change["Status"])


def judge(changes, digests):
    """Only the first digest of an id counts, as for every receiver that looks at ids."""
    last = {}
    for change in changes:
        name = change["UserID"], change["AlarmID"]
        if name not in last or order(change) > order(last[name]):
            last[name] = change
    active = {name: change["Status"] for name, change in last.items() if change["Status"] != "CLEARED"}
    told, seen, ids = {}, set(), set()
    verdict = {"active": len(active), "digests": 0, "told": 0, "same_id": 0, "repeated": 0, "disordered": 0, "empty": 0}
    for number, digest in digests:
        if number in ids:
            verdict["same_id"] += 1
            continue
        ids.add(number)
        alarms = digest["ActiveAlarms"]
        times = [alarm["LatestChangedAt"].rstrip("Z").ljust(29, "0") for alarm in alarms]
        verdict["digests"] += 1
        verdict["told"] += len(alarms)
        verdict["empty"] += not alarms
        verdict["disordered"] += times != sorted(times)
        for alarm in alarms:
            name = digest["UserID"], alarm["AlarmID"]
            news = (*name, alarm["Status"], alarm["LatestChangedAt"])
            verdict["repeated"] += news in seen
            seen.add(news)
            told[name] = alarm["Status"]
    verdict["lost"] = sum(told.get(name) != status for name, status in active.items())
    return verdict


def read(client):
    digests = []
    for _, headers, payload in client.read("AlarmDigest"):
        number = next(value for name, value in headers if name.lower() == "ce-id")
        digests.append((number, json.loads(payload)))
    return digests


def main():
    url, (users, alarms, seed) = sys.argv[1], map(int, sys.argv[2:])
    dice, client = random.Random(seed), Client(urlparse(url))
    changes = scenario(users, alarms, dice)
    everybody = sorted({change["UserID"] for change in changes})

    def publish(topic, message):
        # As these agents do it: confirmed by JetStream, and no more is asked.
        client.answer(client.request(topic, json.dumps(message).encode()))

    def ask(user):
        publish("SendAlarmDigest", {"UserID": user})

    for part in range(PARTS):
        sys.stdin.readline()
        for count, change in enumerate(changes[part::PARTS]):
            publish("AlarmStatusChanged", change)
            if count % 20 == 0:
                ask(dice.choice(everybody))
    print(json.dumps({"published": len(changes)}), flush=True)
    deadline = time.monotonic() + 600
    while True:
        for user in everybody:
            ask(user)
        time.sleep(2)
        verdict = judge(changes, read(client))
        if verdict["lost"] == 0 or time.monotonic() > deadline:
            print(json.dumps(verdict), flush=True)
            return


if __name__ == "__main__":
    main()
