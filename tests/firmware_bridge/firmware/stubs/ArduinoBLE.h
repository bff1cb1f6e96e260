#pragma once
#include <Arduino.h>

#include <cstring>

enum { BLERead = 2, BLEWrite = 8, BLENotify = 16, BLEWritten = 3 };

struct BLEDevice {};
struct BLECharacteristic;
typedef void (*BLECharacteristicEventHandler)(BLEDevice device, BLECharacteristic characteristic);

struct BLECharacteristic {
    uint8_t properties, bytes[512];
    int size, length;
    BLECharacteristicEventHandler handler;

    BLECharacteristic(const char *, uint8_t properties, int size)
        : properties(properties), bytes(), size(size), length(0), handler(nullptr) {}
    int writeValue(const uint8_t value[], int count) {
        length = count < size ? count : size;
        std::memcpy(bytes, value, size_t(length));
        if (properties & BLENotify) stub::print("notify", bytes, size_t(length));
        return 1;
    }
    const uint8_t *value() const { return bytes; }
    int valueLength() const { return length; }
    bool subscribed() { return stub::listened; }
    void setEventHandler(int, BLECharacteristicEventHandler what) { handler = what; }
};

struct BLEService {
    explicit BLEService(const char *) {}
    void addCharacteristic(BLECharacteristic &) {}
};

struct BLELocalDevice {
    int begin() { return 1; }
    void poll() {}
    bool setLocalName(const char *) { return true; }
    void setDeviceName(const char *) {}
    void setAdvertisedService(const BLEService &) {}
    void addService(BLEService &) {}
    int advertise() { return 1; }
};
inline BLELocalDevice BLE;
