"""A connection to an MQTT 5 broker, as the plain and the Sparkplug sink both need it.

Each connection is a client object of its own and never reconnects by itself: what was not confirmed on it is the
outbox's to send again, and would go twice if the client library sent it too.
"""

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from paho.mqtt.client import MQTT_ERR_SUCCESS, Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from evident_manufacturing.delivery.courier import Stopped
from evident_manufacturing.delivery.messages import Confirmed, Message, MqttSettings, tls_context

logger = logging.getLogger(__name__)

_TAKEN_OVER: Final = 0x8E
_NOBODY: Final = 0x10
_NEVER: Final = frozenset({0x87, 0x90, 0x99})
_WINDOW: Final = 200
_HEADER: Final = 256


class Connection:
    """A connection that is open, or was.

    Args:
        settings: Of the broker.
        client_id: In place of the settings' own.
        clean: Whether the broker forgets the session when this ends.
        will: What the broker publishes when this goes without saying so.
        on_message: Called in the network thread with topic and payload; it must not wait.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        client_id: str = "",
        clean: bool = False,
        will: Message | None = None,
        on_message: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self.settings = settings
        self._clean, self._on_message = clean, on_message
        self._state = threading.Condition()
        self._connected = False
        self._taken_over = False
        self._problem = ""
        self._acknowledged: dict[int, int] = {}
        self._subscribed: set[int] = set()
        self._max_packet = 1 << 28
        self._window = _WINDOW
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or settings.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = settings.seconds
        # No limit in the client, whose own cannot be set once the broker has told its limit: publish() keeps to that.
        client.max_inflight_messages_set(0)
        client.max_queued_messages_set(0)
        if settings.username:
            client.username_pw_set(settings.username, settings.password or None)
        if settings.tls:
            client.tls_set_context(tls_context(settings))
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_socket_open = _send_at_once
        client.on_publish, client.on_subscribe, client.on_message = (
            self._on_publish,
            self._on_subscribe,
            self._on_received,
        )
        self._client = client

    @property
    def connected(self) -> bool:
        """Whether it is up, as far as is known.

        Raises:
            Stopped: Another client has taken this one's id.
        """
        if self._taken_over:
            raise Stopped(
                f"Another client has connected to {self.settings.host} as {self.settings.client_id!r}: two agents have "
                "one id. This one stops; give one of them an id of its own.",
                client_id=self.settings.client_id,
            )
        return self._connected

    def open(self, subscriptions: Sequence[str] = ()) -> str:
        """Connect and subscribe at QoS 1; the reason why that failed, or an empty text."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it so
        properties.SessionExpiryInterval = 0 if self._clean else self.settings.session_seconds
        at = f"{self.settings.host}:{self.settings.port}"
        try:
            self._client.connect(
                self.settings.host,
                self.settings.port,
                self.settings.keepalive,
                clean_start=self._clean,
                properties=properties,
            )
        except ssl.SSLCertVerificationError as error:
            return (
                f"the certificate of {at} does not hold ({error.verify_message}); renew it, trust its issuer, or "
                "correct this machine's clock"
            )
        except (OSError, ValueError) as error:
            return f"no connection to {at}: {error}"
        self._client.loop_start()
        if not self._wait(lambda: self._connected or bool(self._problem)):
            self.close()
            return f"{at} did not answer within {self.settings.seconds:g} s"
        if not self._problem and subscriptions:
            _, mid = self._client.subscribe([(topic, 1) for topic in subscriptions])
            if not self._wait(lambda: mid in self._subscribed or not self._connected):
                self._problem = f"{at} did not confirm a subscription"
        if self._problem:
            problem = self._problem
            self.close()
            return problem
        return ""

    def too_large(self, message: Message) -> str:
        """Why a message is more than the broker takes, which would close the connection; an empty text where not."""
        if len(message.payload) + _HEADER <= self._max_packet:
            return ""
        return f"the broker takes packets of at most {self._max_packet} bytes"

    def send(self, messages: Sequence[Message]) -> list[int]:
        """Hand messages to the network; their numbers for :meth:`confirm`, -1 for one that was not taken."""
        numbers = []
        for message in messages:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            if message.properties:
                properties.UserProperty = list(message.properties.items())
            sent = self._client.publish(message.topic, message.payload, message.qos, message.retain, properties)
            numbers.append(sent.mid if sent.rc == MQTT_ERR_SUCCESS else -1)
        return numbers

    def publish(self, messages: Sequence[Message], *, heard: bool = True) -> Confirmed:
        """Publish messages of QoS 1 and wait until each is confirmed, the connection is lost, or the time is over.

        Args:
            messages: In the order they are to arrive.
            heard: Whether one that nobody is subscribed to counts as not taken; the broker throws it away.
        """
        result = Confirmed()
        for index, message in enumerate(messages):
            if refusal := self.too_large(message):
                result.refused[index] = refusal
        kept = [index for index in range(len(messages)) if index not in result.refused]
        numbers: dict[int, int] = {}
        in_time = True
        while in_time and self._connected and len(numbers) < len(kept):
            # The next ones go out when half of the window is confirmed, and not all: a broker's last confirmations
            # otherwise wait for an acknowledgement of TCP, which a silent sender delays by 40 ms.
            free = self._window - sum(1 for each in list(numbers.values())[-self._window :] if not self._done(each))
            part = kept[len(numbers) : len(numbers) + free]
            numbers |= zip(part, self.send([messages[index] for index in part]), strict=True)
            last = list(numbers.values())
            in_time = self.confirm(last[: len(last) - self._window // 2] if len(numbers) < len(kept) else last)
        with self._state:
            codes = {
                index: self._acknowledged.pop(number)
                for index, number in numbers.items()
                if number in self._acknowledged
            }
        for index, code in codes.items():
            if code == _NOBODY and heard:
                result.problem = "no MES is subscribed to what this agent publishes"
            elif code < 0x80:
                result.taken.add(index)
            elif code in _NEVER:
                result.refused[index] = f"the broker refuses it with MQTT reason 0x{code:02x}"
            else:
                result.problem = f"the broker does not take it now (MQTT reason 0x{code:02x})"
        if len(codes) < len(kept):
            result.problem = "the connection was lost" if in_time else "the broker did not confirm in time"
            self.close()
        return result

    def confirm(self, numbers: Sequence[int]) -> bool:
        """Wait for the confirmation of messages; False where the time was over first."""
        return self._wait(lambda: not self._connected or all(map(self._done, reversed(numbers))))

    def _done(self, number: int) -> bool:
        return number < 0 or number in self._acknowledged

    def close(self) -> None:
        """Say goodbye, so that the will is not published, and end the network thread."""
        self._client.disconnect()
        self._client.loop_stop()
        self._connected = False

    def wait(self, done: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until ``done``, which is asked at each message, for at most so long or the settings'; whether it was."""
        return self._wait(lambda: done() or not self._connected, seconds) and done()

    def _wait(self, done: Callable[[], bool], seconds: float | None = None) -> bool:
        end = time.monotonic() + (self.settings.seconds if seconds is None else seconds)
        with self._state:
            while not done():
                left = end - time.monotonic()
                if left <= 0:
                    return False
                self._state.wait(left)
        return True

    # --- called by the network thread -------------------------------------------------------------------------------

    def _on_connect(self, _: Any, __: Any, ___: Any, reason: Any, properties: Any) -> None:
        with self._state:
            if reason.is_failure:
                self._problem = f"{self.settings.host} does not let this agent in: {reason}"
            else:
                self._window = min(getattr(properties, "ReceiveMaximum", _WINDOW), _WINDOW)
                self._max_packet = getattr(properties, "MaximumPacketSize", self._max_packet)
                self._connected = True
            self._state.notify_all()

    def _on_disconnect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        with self._state:
            self._connected = False
            self._taken_over = self._taken_over or reason.value == _TAKEN_OVER
            self._problem = self._problem or f"{self.settings.host} closed the connection: {reason}"
            self._state.notify_all()

    def _on_publish(self, client: Client, _: Any, mid: int, reason: Any, __: Any) -> None:
        # A broker without TCP_NODELAY holds its next confirmations back until the last is acknowledged, and Linux
        # delays that by 40 ms; the kernel forgets this wish, so it is said at each.
        to: Any = client.socket()
        if to is not None and hasattr(socket, "TCP_QUICKACK"):
            with suppress(OSError):
                to.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        with self._state:
            self._acknowledged[mid] = reason.value
            self._state.notify_all()

    def _on_subscribe(self, _: Any, __: Any, mid: int, reasons: Any, ___: Any) -> None:
        with self._state:
            if failed := [each for each in reasons if each.is_failure]:
                self._problem = f"{self.settings.host} refuses a subscription: {failed[0]}"
            self._subscribed.add(mid)
            self._state.notify_all()

    def _on_received(self, _: Any, __: Any, message: MQTTMessage) -> None:
        if self._on_message is not None:
            try:
                self._on_message(message.topic, bytes(message.payload))
            except Exception:
                # Anybody may publish: what cannot be read must not end the network thread.
                logger.exception("A message on %s could not be read.", message.topic)
        with self._state:
            self._state.notify_all()


def _send_at_once(_: Any, __: Any, to: Any) -> None:
    # Without it a window's last packet waits for the acknowledgement of the one before it, some 40 ms.
    to.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
