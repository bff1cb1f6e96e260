// Runs the sketch on this computer, its clock starting at the given microsecond. Commands on standard input:
//   run <ms>    late <us>: delay the sketch    listen <0|1>    mtu <bytes>    ask <1/10 Hz>    config: print it
#include <cstdlib>
#include <cstring>

#include "MujoEdge.ino"

static void run(uint32_t us) {
    const uint32_t began = stub::now_us;
    while (stub::now_us - began < us) {
        loop();
        stub::now_us += 20;
    }
}

static void command(const char *name, unsigned value) {
#if defined(ARDUINO_ARCH_ESP32)
    NimBLEConnInfo info;
    if (!std::strcmp(name, "listen")) {
        data_characteristic->callbacks->onSubscribe(data_characteristic, info, uint16_t(value));
    }
    if (!std::strcmp(name, "mtu")) NimBLEDevice::server()->callbacks->onMTUChange(uint16_t(value), info);
    if (!std::strcmp(name, "leave")) NimBLEDevice::server()->callbacks->onDisconnect(NimBLEDevice::server(), info, 0);
    if (!std::strcmp(name, "ask")) {
        const uint8_t bytes[2] = {uint8_t(value & 255), uint8_t(value >> 8)};
        config_characteristic->setValue(bytes, 2);
        config_characteristic->callbacks->onWrite(config_characteristic, info);
    }
    if (!std::strcmp(name, "config")) {
        stub::print("config", config_characteristic->held.data(), config_characteristic->held.size());
    }
#else
    if (!std::strcmp(name, "listen")) stub::listened = value;
    if (!std::strcmp(name, "leave")) stub::listened = false;
    if (!std::strcmp(name, "ask")) {
        const uint8_t bytes[2] = {uint8_t(value & 255), uint8_t(value >> 8)};
        config_characteristic.writeValue(bytes, 2);
        config_characteristic.handler(BLEDevice(), config_characteristic);
    }
    if (!std::strcmp(name, "config")) {
        stub::print("config", config_characteristic.value(), size_t(config_characteristic.valueLength()));
    }
#endif
    if (!std::strcmp(name, "run")) run(1000 * value);
    if (!std::strcmp(name, "late")) stub::now_us += value;
}

int main(int, char **arguments) {
    char name[16];
    unsigned value;
    stub::now_us = uint32_t(std::strtoul(arguments[1], nullptr, 10));
    setup();
    while (std::scanf("%15s %u", name, &value) == 2) command(name, value);
}
