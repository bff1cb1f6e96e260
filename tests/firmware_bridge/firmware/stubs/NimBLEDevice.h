#pragma once
#include <Arduino.h>

#include <list>
#include <string>
#include <vector>

namespace NIMBLE_PROPERTY {
enum { READ = 2, WRITE = 8, NOTIFY = 16 };
}

struct NimBLEConnInfo {};
struct NimBLECharacteristic;
struct NimBLEServer;

struct NimBLEAttValue {
    std::vector<uint8_t> bytes;
    const uint8_t *data() const { return bytes.data(); }
    uint16_t size() const { return uint16_t(bytes.size()); }
};

struct NimBLECharacteristicCallbacks {
    virtual ~NimBLECharacteristicCallbacks() {}
    virtual void onWrite(NimBLECharacteristic *, NimBLEConnInfo &) {}
    virtual void onSubscribe(NimBLECharacteristic *, NimBLEConnInfo &, uint16_t) {}
};

struct NimBLEServerCallbacks {
    virtual ~NimBLEServerCallbacks() {}
    virtual void onMTUChange(uint16_t, NimBLEConnInfo &) {}
    virtual void onDisconnect(NimBLEServer *, NimBLEConnInfo &, int) {}
};

struct NimBLECharacteristic {
    NimBLECharacteristicCallbacks *callbacks = nullptr;
    NimBLEAttValue held;
    void setCallbacks(NimBLECharacteristicCallbacks *what) { callbacks = what; }
    void setValue(const uint8_t *data, size_t size) { held.bytes.assign(data, data + size); }
    NimBLEAttValue getValue() const { return held; }
    bool notify(const uint8_t *data, size_t size) const {
        stub::print("notify", data, size);
        return true;
    }
};

struct NimBLEService {
    std::list<NimBLECharacteristic> characteristics;
    NimBLECharacteristic *createCharacteristic(const char *, uint32_t) { return &characteristics.emplace_back(); }
    bool start() { return true; }
};

struct NimBLEServer {
    NimBLEServerCallbacks *callbacks = nullptr;
    NimBLEService service;
    void setCallbacks(NimBLEServerCallbacks *what, bool) { callbacks = what; }
    void advertiseOnDisconnect(bool) {}
    NimBLEService *createService(const char *) { return &service; }
};

struct NimBLEAdvertising {
    bool addServiceUUID(const char *) { return true; }
    bool setName(const std::string &) { return true; }
    void enableScanResponse(bool) {}
    bool start(uint32_t = 0) { return true; }
};

struct NimBLEDevice {
    static NimBLEServer *server() {
        static NimBLEServer one;
        return &one;
    }
    static bool init(const std::string &) { return true; }
    static bool setMTU(uint16_t) { return true; }
    static NimBLEServer *createServer() { return server(); }
    static NimBLEAdvertising *getAdvertising() {
        static NimBLEAdvertising one;
        return &one;
    }
};
