"""Promise: ordinary MQTT clients work, and what they do stands on record."""

import queue
import shutil
import subprocess
import threading
import uuid

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from conftest import PATIENCE_S, wait_until

VERSIONS = pytest.mark.parametrize("version", [mqtt.MQTTv311, mqtt.MQTTv5], ids=["3.1.1", "5.0"])
PUB, SUB = shutil.which("mosquitto_pub"), shutil.which("mosquitto_sub")
needs_mosquitto = pytest.mark.skipif(not (PUB and SUB), reason="mosquitto_pub and mosquitto_sub are not installed")


@pytest.fixture
def topic(request):
    """A topic of this test's own."""
    return f"{request.node.originalname}/{uuid.uuid4().hex[:8]}"


class Device:
    """A paho client with what it received, and how its connections ended."""

    def __init__(self, server, version, client_id=None, *, clean=True, will=None, expiry_s=0):
        self.server, self.version, self.clean, self.expiry_s = server, version, clean, expiry_s
        self.client_id = client_id or f"paho-{uuid.uuid4().hex[:12]}"
        session = {} if version == mqtt.MQTTv5 else {"clean_session": clean}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            self.client_id,
            protocol=version,
            reconnect_on_failure=False,
            **session,
        )
        self.messages, self.ends, self.subscribed, self.unsubscribed = (queue.Queue() for _ in range(4))
        self.session_present = self.connack = None
        self.client.on_connect = self._on_connect
        self.client.on_message = lambda _, __, message: self.messages.put(message)
        self.client.on_disconnect = lambda *args: self.ends.put(args[3])
        self.client.on_subscribe = lambda *args: self.subscribed.put(args[3])
        self.client.on_unsubscribe = lambda *args: self.unsubscribed.put(args[3])
        if will:
            self.client.will_set(*will)

    def _on_connect(self, _, __, flags, reason, properties):
        self.session_present = flags.session_present
        self.connack = properties
        assert not reason.is_failure, reason

    def __enter__(self):
        options = {}
        if self.version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = self.expiry_s
            options = {"clean_start": self.clean, "properties": properties}
        self.client.connect(self.server.host, self.server.mqtt_port, **options)
        self.client.loop_start()
        wait_until(self.client.is_connected, "CONNACK")
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()

    def subscribe(self, filters, qos=0, **options):
        self.client.subscribe(filters, qos, **options)
        codes = self.subscribed.get(timeout=PATIENCE_S)
        assert not any(code.is_failure for code in codes), codes
        return codes

    def unsubscribe(self, filters):
        self.client.unsubscribe(filters)
        self.unsubscribed.get(timeout=PATIENCE_S)

    def publish(self, topic, payload=b"", qos=0, retain=False, properties=None):
        self.client.publish(topic, payload, qos, retain, properties).wait_for_publish(PATIENCE_S)

    def receive(self):
        return self.messages.get(timeout=PATIENCE_S)

    def assert_nothing_more(self, topic):
        """Nothing waits: a message to ourselves, sent now, is the next that comes."""
        marker = uuid.uuid4().hex.encode()
        self.subscribe(f"{topic}/nothing-more", 1)
        self.publish(f"{topic}/nothing-more", marker, 1)
        assert self.receive().payload == marker

    def lose_connection(self):
        """As when the device loses power, but for the FIN: no DISCONNECT packet."""
        self.client.loop_stop()
        self.client.socket().close()


@VERSIONS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_arrive_once_and_in_order(server, version, qos, topic):
    with Device(server, version) as subscriber, Device(server, version) as publisher:
        subscriber.subscribe(topic, qos)
        for number in range(100):
            publisher.client.publish(topic, str(number), qos)
        received = [subscriber.receive() for _ in range(100)]
        assert [int(message.payload) for message in received] == list(range(100))
        assert {message.qos for message in received} == {qos}
        subscriber.assert_nothing_more(topic)


@VERSIONS
@pytest.mark.parametrize(("published", "subscribed"), [(0, 2), (1, 0), (1, 2), (2, 0), (2, 1)])
def test_the_lower_qos_wins(server, version, published, subscribed, topic):
    with Device(server, version) as device:
        device.subscribe(topic, subscribed)
        device.publish(topic, b"x", published)
        assert device.receive().qos == min(published, subscribed)


@VERSIONS
def test_wildcards(server, version, topic):
    with Device(server, version) as device:
        device.subscribe([(f"{topic}/+/x", 1), (f"{topic}/deep/#", 1)])
        told = ["a/x", "b/x", "deep", "deep/1", "deep/1/2/3"]
        for rest in ["a/x", "a/y", "a/b/x", "b/x", "deep", "deep/1", "deep/1/2/3", "deeper"]:
            device.publish(f"{topic}/{rest}", rest, 1)
        assert [device.receive().payload.decode() for _ in told] == told
        device.assert_nothing_more(topic)


@VERSIONS
def test_wildcards_do_not_show_server_topics(server, version, topic):
    with Device(server, version) as device:
        device.subscribe("#", 1)
        marker = uuid.uuid4().hex
        device.publish(topic, marker, 1)
        while (message := device.receive()).payload.decode() != marker:
            assert not message.topic.startswith("$")


@VERSIONS
def test_retained_messages(server, version, topic):
    with Device(server, version) as publisher:
        publisher.publish(f"{topic}/a", b"old", 1, retain=True)
        publisher.publish(f"{topic}/a", b"new", 1, retain=True)
        publisher.publish(f"{topic}/b", b"to be deleted", 1, retain=True)
        publisher.publish(f"{topic}/b", b"", 1, retain=True)
    with Device(server, version) as subscriber:
        subscriber.subscribe(f"{topic}/#", 1)
        message = subscriber.receive()
        assert (message.topic, message.payload, message.retain) == (f"{topic}/a", b"new", True)
        subscriber.publish(f"{topic}/a", b"live", 1, retain=True)
        message = subscriber.receive()
        assert (message.payload, message.retain) == (b"live", False), "to those who are there it is an ordinary one"
        subscriber.assert_nothing_more(topic)
        subscriber.publish(f"{topic}/a", b"", 1, retain=True)


@VERSIONS
def test_the_will_is_for_those_who_leave_without_a_word(server, version, topic):
    with Device(server, version) as watcher:
        watcher.subscribe(f"{topic}/#", 1)
        with Device(server, version, will=(f"{topic}/polite", b"gone", 1, False)) as polite:
            pass
        impolite = Device(server, version, will=(f"{topic}/impolite", b"gone", 1, True)).__enter__()
        impolite.lose_connection()
        message = watcher.receive()
        assert (message.topic, message.payload, message.qos) == (f"{topic}/impolite", b"gone", 1)
        watcher.assert_nothing_more(topic)
        watcher.publish(f"{topic}/impolite", b"", 1, retain=True)
    server.wait_for_reasons(polite.client_id, "accepted", "client-disconnected")
    server.wait_for_reasons(impolite.client_id, "accepted", "client-closed")


@VERSIONS
@pytest.mark.parametrize("qos", [1, 2])
def test_a_persistent_session_keeps_what_came_meanwhile(server, version, qos, topic):
    def sleeper(client_id=None):
        return Device(server, version, client_id, clean=False, expiry_s=600)

    with sleeper() as device:
        assert not device.session_present
        device.subscribe(topic, qos)
    with Device(server, version) as publisher:
        for number in range(20):
            publisher.publish(topic, str(number), qos)
    with sleeper(device.client_id) as device:
        assert device.session_present
        assert [int(device.receive().payload) for _ in range(20)] == list(range(20))
        device.unsubscribe(topic)
    events = server.wait_for_reasons(device.client_id, *["accepted", "client-disconnected"] * 2)
    assert [event["session_present"] for event in events if event["action"] == "connect"] == [False, True]

    with Device(server, version, device.client_id, clean=True) as device:
        assert not device.session_present


@VERSIONS
def test_a_clean_session_keeps_nothing(server, version, topic):
    with Device(server, version) as device:
        device.subscribe(topic, 1)
    with Device(server, version) as publisher:
        publisher.publish(topic, b"missed", 1)
    with Device(server, version, device.client_id, clean=False) as device:
        assert not device.session_present
        device.assert_nothing_more(topic)


@VERSIONS
def test_a_twin_takes_over(server, version):
    first = Device(server, version).__enter__()
    with Device(server, version, first.client_id):
        reason = first.ends.get(timeout=PATIENCE_S)
        first.client.loop_stop()
    if version == mqtt.MQTTv5:
        assert reason.value == 0x8E
    events = wait_until(lambda: len(e := server.events(first.client_id)) == 4 and e, "four events")
    taken_over = next(event for event in events if event["reason"] == "session-taken-over")
    assert taken_over["connection"] == events[0]["connection"] != taken_over["other_connection"]


@VERSIONS
@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_384, 1_000_000])
def test_payloads_of_any_size(server, version, size, topic):
    payload = bytes(number * 7 % 256 for number in range(size))
    with Device(server, version) as device:
        device.subscribe(topic, 1)
        device.publish(topic, payload, 1)
        assert device.receive().payload == payload


@VERSIONS
def test_unsubscribe(server, version, topic):
    with Device(server, version) as device:
        device.subscribe([(f"{topic}/a", 1), (f"{topic}/b", 1)])
        device.unsubscribe(f"{topic}/a")
        device.publish(f"{topic}/a", b"a", 1)
        device.publish(f"{topic}/b", b"b", 1)
        assert device.receive().payload == b"b"
        device.assert_nothing_more(topic)


@VERSIONS
def test_one_message_for_many(server, version, topic):
    devices = [Device(server, version).__enter__() for _ in range(50)]
    try:
        for device in devices:
            device.subscribe(topic, 1)
        devices[0].publish(topic, b"all", 1)
        assert [device.receive().payload for device in devices] == [b"all"] * 50
    finally:
        for device in devices:
            device.__exit__()


def test_many_publishers_at_once(server, topic):
    with Device(server, mqtt.MQTTv311) as subscriber:
        subscriber.subscribe(f"{topic}/#", 1)

        def send(name):
            with Device(server, mqtt.MQTTv311) as publisher:
                for number in range(50):
                    publisher.publish(f"{topic}/{name}", str(number), 1)

        threads = [threading.Thread(target=send, args=(name,)) for name in range(10)]
        for thread in threads:
            thread.start()
        received = {}
        for _ in range(500):
            message = subscriber.receive()
            received.setdefault(message.topic, []).append(int(message.payload))
        for thread in threads:
            thread.join()
    assert len(received) == 10
    assert all(numbers == list(range(50)) for numbers in received.values())


def test_properties_of_a_message_are_passed_on(server, topic):
    with Device(server, mqtt.MQTTv5) as device:
        device.subscribe(topic, 1)
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = [("k", "v"), ("k", "w"), ("é", "")]
        properties.ContentType = "text/plain"
        properties.ResponseTopic = f"{topic}/answer"
        properties.CorrelationData = b"\x00\x01"
        properties.PayloadFormatIndicator = 1
        device.publish(topic, b"x", 1, properties=properties)
        told = device.receive().properties
        assert told.UserProperty == properties.UserProperty
        assert told.ContentType == "text/plain"
        assert told.ResponseTopic == f"{topic}/answer"
        assert told.CorrelationData == b"\x00\x01"
        assert told.PayloadFormatIndicator == 1


def test_subscription_options(server, topic):
    with Device(server, mqtt.MQTTv5) as device, Device(server, mqtt.MQTTv5) as other:
        options = SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True)
        device.client.subscribe(topic, options=options)
        device.subscribed.get(timeout=PATIENCE_S)
        device.publish(topic, b"mine", 1)
        other.publish(topic, b"other", 1, retain=True)
        message = device.receive()
        assert (message.payload, message.retain) == (b"other", True)
        other.publish(topic, b"", 1, retain=True)


@VERSIONS
def test_each_message_of_a_shared_subscription_goes_to_one_member(server, version, topic):
    with Device(server, version) as one, Device(server, version) as two, Device(server, version) as other:
        for device in one, two:
            assert not hasattr(device.connack, "SharedSubscriptionAvailable"), "nothing said: available"
            device.subscribe(f"$share/group/{topic}", 1)
        for number in range(10):
            other.publish(topic, str(number), 1)
        half = [[device.receive().payload for _ in range(5)] for device in (one, two)]
        assert sorted(half[0] + half[1]) == [str(number).encode() for number in range(10)], "in turn"


def test_a_session_that_expired_is_gone(server, topic):
    with Device(server, mqtt.MQTTv5, clean=False, expiry_s=1) as device:
        device.subscribe(topic, 1)

    def gone():
        with Device(server, mqtt.MQTTv5, device.client_id, clean=False, expiry_s=1) as again:
            present = again.session_present
        if present:
            threading.Event().wait(1.2)  # the expiry interval itself: each visit starts it anew
        return not present

    wait_until(gone, "end of the session")


def test_keep_alive_is_kept_by_pings(server):
    device = Device(server, mqtt.MQTTv311)
    device.client.connect(server.host, server.mqtt_port, keepalive=3)  # paho looks at its clock once a second
    device.client.loop_start()
    wait_until(device.client.is_connected, "CONNACK")
    with pytest.raises(queue.Empty):
        device.ends.get(timeout=7)
    device.client.disconnect()
    device.client.loop_stop()
    events = server.wait_for_reasons(device.client_id, "accepted", "client-disconnected")
    assert events[1]["duration_ms"] >= 7000


def mosquitto(program, server, *arguments, **options):
    command = [program, "-h", server.host, "-p", str(server.mqtt_port), *arguments]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE_S, text=True, **options)


@needs_mosquitto
@pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "mqttv5"])
@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_mosquitto_clients(server, version, qos, topic):
    client_id = f"mosquitto-{uuid.uuid4().hex[:8]}"
    reader = mosquitto_sub(server, "-V", version, "-q", qos, "-t", f"{topic}/+", "-C", "3", "-i", client_id, "-v")
    try:
        wait_until(lambda: server.events(client_id), "connect of mosquitto_sub")
        # On record is the connect; the subscription may be a moment later: until it is there, nothing arrives.
        retained = mosquitto(PUB, server, "-V", version, "-q", qos, "-r", "-t", f"{topic}/1", "-m", "kept")
        assert retained.returncode == 0, retained.stderr
        assert reader.stdout.readline() == f"{topic}/1 kept\n"
        for number in ["2", "3"]:
            sent = mosquitto(PUB, server, "-V", version, "-q", qos, "-t", f"{topic}/{number}", "-m", f"m{number}")
            assert sent.returncode == 0, sent.stderr
        assert reader.communicate(timeout=PATIENCE_S)[0] == f"{topic}/2 m2\n{topic}/3 m3\n"
    finally:
        end(reader)
        mosquitto(PUB, server, "-r", "-n", "-t", f"{topic}/1")
    server.wait_for_reasons(client_id, "accepted", "client-disconnected")


def mosquitto_sub(server, *arguments):
    command = [SUB, "-h", server.host, "-p", str(server.mqtt_port), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def end(process):
    """As by `kill -9`: the system sends a FIN, no DISCONNECT packet goes out."""
    process.kill()
    process.wait()
    process.stdout.close()


@needs_mosquitto
def test_mosquitto_persistent_session(server, topic):
    client_id = f"mosquitto-{uuid.uuid4().hex[:8]}"
    session = ["-q", "1", "-t", topic, "-i", client_id, "-c"]
    assert mosquitto(SUB, server, *session, "-E").returncode == 0
    for number in range(5):
        mosquitto(PUB, server, "-q", "1", "-t", topic, "-m", str(number))
    assert mosquitto(SUB, server, *session, "-C", "5").stdout.split() == list("01234")


@needs_mosquitto
def test_mosquitto_sends_a_large_file(server, topic, tmp_path):
    payload = tmp_path / "payload"
    payload.write_bytes(b"0123456789abcdef" * 60_000)
    client_id = f"mosquitto-{uuid.uuid4().hex[:8]}"
    assert mosquitto(PUB, server, "-q", "1", "-r", "-t", topic, "-f", payload, "-i", client_id).returncode == 0
    received = mosquitto(SUB, server, "-q", "1", "-t", topic, "-C", "1", "-N")
    assert received.stdout.encode() == payload.read_bytes()
    mosquitto(PUB, server, "-r", "-n", "-t", topic)
    server.wait_for_reasons(client_id, "accepted", "client-disconnected")


@needs_mosquitto
def test_mosquitto_will(server, topic):
    client_id = f"mosquitto-{uuid.uuid4().hex[:8]}"
    will = ["--will-topic", f"{topic}/will", "--will-payload", "gone", "--will-retain"]
    doomed = mosquitto_sub(server, "-t", topic, "-i", client_id, *will)
    try:
        wait_until(lambda: server.events(client_id), "connect of mosquitto_sub")
    finally:
        end(doomed)
    assert mosquitto(SUB, server, "-t", f"{topic}/will", "-C", "1").stdout == "gone\n"
    mosquitto(PUB, server, "-r", "-n", "-t", f"{topic}/will")
    server.wait_for_reasons(client_id, "accepted", "client-closed")
