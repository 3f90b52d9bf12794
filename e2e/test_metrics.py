"""Promise: Prometheus' own parser reads all of /metrics, and finds in it what an unmodified client just did."""

import urllib.request

import paho.mqtt.client as mqtt
from prometheus_client.parser import text_string_to_metric_families

from conftest import PATIENCE_S, wait_until


def scraped(server):
    with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=PATIENCE_S) as answer:
        return answer.read().decode()


def samples(page):
    found = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def test_prometheus_reads_every_line(server):
    page = scraped(server)
    families = list(text_string_to_metric_families(page))
    assert len(families) == page.count("# TYPE ") == page.count("# HELP ")
    assert sum(len(family.samples) for family in families) == sum(not line.startswith("#") for line in page.splitlines())
    for family in families:
        assert family.type in ("counter", "gauge", "histogram") and family.documentation, family


def test_a_client_that_comes_and_goes_is_counted(server):
    before = samples(scraped(server))
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "counted", reconnect_on_failure=False)
    client.on_connect = lambda *_: client.disconnect()
    client.connect(server.host, server.mqtt_port)
    client.loop_forever()
    connects, ended = ("tracemq_connects_total", ()), ("tracemq_disconnects_total", (("reason", "client-disconnected"),))

    def is_counted():
        now = samples(scraped(server))
        return all(now[key] >= before[key] + 1 for key in (connects, ended)) and now.keys() == before.keys()

    wait_until(is_counted, "both among the numbers")
