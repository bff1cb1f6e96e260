/* mujo-edge's GATT service (firmware_bridge/profiles/mujo.py): NimBLE-Arduino 2 on an ESP32, ArduinoBLE elsewhere.
 *
 *   data    notify: a packet       config    read: layout and rates; write: u16 LE, the rate in 1/10 Hz */
#ifndef MUJO_RADIO_H
#define MUJO_RADIO_H

#include <Arduino.h>

#include "mujo_packet.h"

#define MUJO_NAME "mujo-edge"
#define MUJO_UUID(n) "096b000" n "-6fd0-408f-8523-f279d89c073f"
#define MUJO_SERVICE MUJO_UUID("1")
#define MUJO_DATA MUJO_UUID("2")
#define MUJO_CONFIG MUJO_UUID("3")
#define MUJO_WRIST 1 /* index of the placement */

static const uint16_t RATES[] = {260, 520, 1040}; /* 1/10 Hz */
static const uint8_t RATE_COUNT = sizeof RATES / sizeof RATES[0];
static const size_t CONFIG_SIZE = 6 + 2 * RATE_COUNT;

static volatile uint16_t current_rate = 520;

static inline uint16_t radio_rate() { return current_rate; }

static inline void radio_config(uint8_t *config) {
    const uint16_t rate = current_rate;
    config[0] = 1; /* version of this layout */
    config[1] = 6; /* channels */
    config[2] = MUJO_WRIST;
    config[3] = (uint8_t)(rate & 0xFF);
    config[4] = (uint8_t)(rate >> 8);
    config[5] = RATE_COUNT;
    for (uint8_t i = 0; i < RATE_COUNT; i++) {
        config[6 + 2 * i] = (uint8_t)(RATES[i] & 0xFF);
        config[7 + 2 * i] = (uint8_t)(RATES[i] >> 8);
    }
}

/* Set the rate; an unsupported one changes nothing, which the other side sees when it reads config again. */
static inline void radio_request(const uint8_t *value, size_t size) {
    if (size != 2) return;
    const uint16_t wanted = mujo_u16(value);
    for (uint8_t i = 0; i < RATE_COUNT; i++) {
        if (RATES[i] == wanted) current_rate = wanted;
    }
}

#if defined(ARDUINO_ARCH_ESP32)

#include <NimBLEDevice.h>

static NimBLECharacteristic *data_characteristic, *config_characteristic;
static volatile bool subscribed;
static volatile uint16_t mtu = 23;

static inline void publish_config() {
    uint8_t config[CONFIG_SIZE];
    radio_config(config);
    config_characteristic->setValue(config, sizeof config);
}

class DataCallbacks : public NimBLECharacteristicCallbacks {
    void onSubscribe(NimBLECharacteristic *, NimBLEConnInfo &, uint16_t value) override { subscribed = value & 1; }
};

class ConfigCallbacks : public NimBLECharacteristicCallbacks {
    void onWrite(NimBLECharacteristic *characteristic, NimBLEConnInfo &) override {
        const NimBLEAttValue value = characteristic->getValue();
        radio_request(value.data(), value.size());
        publish_config();
    }
};

class ServerCallbacks : public NimBLEServerCallbacks {
    void onMTUChange(uint16_t value, NimBLEConnInfo &) override { mtu = value; }
    void onDisconnect(NimBLEServer *, NimBLEConnInfo &, int) override {
        subscribed = false;
        mtu = 23;
    }
};

static inline void radio_begin() {
    static DataCallbacks on_data;
    static ConfigCallbacks on_config;
    static ServerCallbacks on_server;
    NimBLEDevice::init(MUJO_NAME);
    NimBLEDevice::setMTU(247);
    NimBLEServer *server = NimBLEDevice::createServer();
    server->setCallbacks(&on_server, false);
    server->advertiseOnDisconnect(true);
    NimBLEService *service = server->createService(MUJO_SERVICE);
    data_characteristic = service->createCharacteristic(MUJO_DATA, NIMBLE_PROPERTY::NOTIFY);
    data_characteristic->setCallbacks(&on_data);
    config_characteristic =
        service->createCharacteristic(MUJO_CONFIG, NIMBLE_PROPERTY::READ | NIMBLE_PROPERTY::WRITE);
    config_characteristic->setCallbacks(&on_config);
    publish_config();
    service->start();
    NimBLEAdvertising *advertising = NimBLEDevice::getAdvertising();
    advertising->addServiceUUID(MUJO_SERVICE);
    advertising->enableScanResponse(true); /* first: the name does not fit beside a UUID of 128 bits */
    advertising->setName(MUJO_NAME);
    advertising->start();
}

static inline void radio_poll() {}
static inline bool radio_subscribed() { return subscribed; }
static inline uint16_t radio_mtu() { return mtu; }
static inline void radio_notify(const uint8_t *packet, size_t size) { data_characteristic->notify(packet, size); }

#else

#include <ArduinoBLE.h>

static BLEService service(MUJO_SERVICE);
static BLECharacteristic data_characteristic(MUJO_DATA, BLENotify, MUJO_PACKET_SIZE(1, 6));
static BLECharacteristic config_characteristic(MUJO_CONFIG, BLERead | BLEWrite, CONFIG_SIZE);

static inline void publish_config() {
    uint8_t config[CONFIG_SIZE];
    radio_config(config);
    config_characteristic.writeValue(config, sizeof config);
}

static void on_written(BLEDevice, BLECharacteristic characteristic) {
    radio_request(characteristic.value(), (size_t)characteristic.valueLength());
    publish_config();
}

static inline void radio_begin() {
    if (!BLE.begin()) return; /* without Bluetooth the serial line still works */
    BLE.setLocalName(MUJO_NAME);
    BLE.setDeviceName(MUJO_NAME);
    BLE.setAdvertisedService(service);
    service.addCharacteristic(data_characteristic);
    service.addCharacteristic(config_characteristic);
    BLE.addService(service);
    config_characteristic.setEventHandler(BLEWritten, on_written);
    publish_config();
    BLE.advertise();
}

static inline void radio_poll() { BLE.poll(); }
static inline bool radio_subscribed() { return data_characteristic.subscribed(); }
static inline uint16_t radio_mtu() { return 23; } /* ArduinoBLE does not expose it; one sample fits the minimum */
static inline void radio_notify(const uint8_t *packet, size_t size) {
    data_characteristic.writeValue(packet, (int)size);
}

#endif
#endif
