"""The link between virtual Bluetooth controllers: bumble's in-process link, with faults of radio and devices."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from bumble import hci, ll
from bumble.controller import Controller
from bumble.core import PhysicalTransport
from bumble.link import LocalLink

ATT, NOTIFICATION = 4, 0x1B
"""L2CAP channel of ATT, and ATT_HANDLE_VALUE_NTF (Core specification, Vol 3, Part A, 2.1 and Part F, 3.4.7.1)."""

FADING_DB = 2
"""Largest random change of the signal strength. With a constant one, BlueZ would not report a device again."""


@dataclass(slots=True)
class Carriage:
    """The radio link of one device: its signal strength (about `rssi_dbm`), and faults of its packets.

    `loss` and `corruption` are fractions of the notifications with samples, all of which are lost until `deaf_until_s`.
    (Replies to writes are never lost: a radio retransmits until success, and losses happen when samples pile up in a
    device.) Nothing arrives before `stalled_until_s`; `delay_s` is added to every notification and `answer_s` to every
    other packet; with `interval_s`, packets arrive only at connection events, that far apart. Counts: notifications
    with samples that were `sent`, and of these `lost` and `corrupted`.
    """

    random: Random
    rssi_dbm: int = -50
    loss: float = 0.0
    corruption: float = 0.0
    deaf_until_s: float = 0.0
    stalled_until_s: float = 0.0
    delay_s: float = 0.0
    answer_s: float = 0.0
    interval_s: float = 0.0
    sent: int = 0
    lost: int = 0
    corrupted: int = 0

    def survive(self, payload: bytes, now_s: float) -> bytes | None:
        """The payload that arrives of a notification with samples; None if it is lost."""
        self.sent += 1
        if now_s < self.deaf_until_s or self.random.random() < self.loss:
            self.lost += 1
            return None
        if payload and self.random.random() < self.corruption:
            self.corrupted += 1
            at, change = self.random.randrange(len(payload)), self.random.randint(1, 255)
            return payload[:at] + bytes([payload[at] ^ change]) + payload[at + 1 :]
        return payload

    def due_s(self, pdu: bytes, now_s: float) -> float:
        """Time at which an L2CAP packet that is sent now arrives."""
        notification = pdu[2] == ATT and pdu[4] == NOTIFICATION
        due_s = max(now_s + (self.delay_s if notification else self.answer_s), self.stalled_until_s)
        return due_s + (-due_s % self.interval_s if self.interval_s else 0)


class Radio(LocalLink):  # type: ignore[misc]
    """Transmits the packets of all controllers in order, with the faults of `carriages`."""

    def __init__(self) -> None:
        super().__init__()
        self.carriages: dict[Controller, Carriage] = {}
        self._pending: dict[Controller, deque[tuple[float, Callable[[], None]]]] = {}

    def send_acl_data(self, sender: Controller, destination: hci.Address, transport: Any, data: bytes) -> None:
        """See `LocalLink`."""
        now_s = asyncio.get_running_loop().time()
        carriage = self.carriages.get(sender)
        due_s = now_s if carriage is None else carriage.due_s(data, now_s)

        def deliver() -> None:
            self._deliver(sender, destination, data)

        pending = self._pending.setdefault(sender, deque())
        if due_s <= now_s and not pending:
            deliver()
        else:
            pending.append((due_s, deliver))
            if len(pending) == 1:
                self._wait(sender)

    def send_ll_control_pdu(self, sender_address: hci.Address, receiver_address: hci.Address, packet: Any) -> None:
        """When a link ends, drop its pending packets, and the message itself if the other end is gone as well."""
        ends = (self.find_le_controller(sender_address), self.find_le_controller(receiver_address))
        if isinstance(packet, ll.TerminateInd):
            for end in ends:
                self._pending.pop(end, None)
        if None not in ends:
            super().send_ll_control_pdu(sender_address, receiver_address, packet)

    def _wait(self, sender: Controller) -> None:
        asyncio.get_running_loop().call_at(self._pending[sender][0][0], self._release, sender)

    def _release(self, sender: Controller) -> None:
        pending = self._pending.get(sender, deque())
        now_s = asyncio.get_running_loop().time()
        while pending and pending[0][0] <= now_s:
            pending.popleft()[1]()
        if pending:
            self._wait(sender)

    def _deliver(self, sender: Controller, destination: hci.Address, data: bytes) -> None:
        """As `LocalLink`, but from the address with which the connection was made, as hosts change theirs."""
        receiver = self.find_le_controller(destination)
        links = sender.le_connections.values()
        source = next((link.self_address for link in links if link.peer_address == destination), None)
        if receiver is not None and source is not None:
            asyncio.get_running_loop().call_soon(_arrive, receiver, source, data)


def _arrive(receiver: Controller, source: hci.Address, data: bytes) -> None:
    if source in receiver.le_connections:  # it may have ended meanwhile
        receiver.on_link_acl_data(source, PhysicalTransport.LE, data)


class VirtualController(Controller):  # type: ignore[misc]
    """bumble's controller without features that confuse hosts, and with scan responses and canceled connects."""

    pending_le_connection: Any = None

    def __init__(self, name: str, radio: Radio) -> None:
        super().__init__(name, link=radio)
        self._fading = Random(name)  # noqa: S311 - reproducible
        self.le_features &= ~(hci.LeFeatureMask.LE_EXTENDED_ADVERTISING | hci.LeFeatureMask.LL_PRIVACY)

    def send_hci_packet(self, packet: Any) -> None:
        """Add the advertiser's signal strength and its scan response to advertising reports."""
        if isinstance(packet, hci.HCI_LE_Advertising_Report_Event):
            packet = hci.HCI_LE_Advertising_Report_Event([self._received(report) for report in packet.reports])
        super().send_hci_packet(packet)

    def on_hci_le_create_connection_cancel_command(self, command: Any) -> Any:
        """Report the end of a canceled connect, which bumble's controller does not."""
        pending, self.pending_le_connection = self.pending_le_connection, None
        if pending is not None:
            self.send_hci_packet(
                hci.HCI_LE_Connection_Complete_Event(
                    status=hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR,
                    connection_handle=0,
                    role=hci.Role.CENTRAL,
                    peer_address_type=pending.peer_address.address_type,
                    peer_address=pending.peer_address,
                    connection_interval=0,
                    peripheral_latency=0,
                    supervision_timeout=0,
                    central_clock_accuracy=0,
                )
            )
        return super().on_hci_le_create_connection_cancel_command(command)

    def _received(self, report: Any) -> Any:
        sender = self.link.find_le_controller(report.address)
        data, carriage = report.data, self.link.carriages.get(sender)
        if report.event_type == hci.HCI_LE_Advertising_Report_Event.EventType.SCAN_RSP:
            data = b"" if sender is None else sender.le_legacy_advertiser.scan_response_data
        return hci.HCI_LE_Advertising_Report_Event.Report(
            event_type=report.event_type,
            address_type=report.address_type,
            address=report.address,
            data=data,
            rssi=(report.rssi if carriage is None else carriage.rssi_dbm) + self._fading.randint(-FADING_DB, FADING_DB),
        )
