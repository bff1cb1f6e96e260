// An I2C bus with an MPU-6050 at 0x68 that reads 0.5 g, -0.25 g, 1 g and 100, -200, 300 degrees a second.
#pragma once
#include <Arduino.h>

struct TwoWire {
    uint8_t registers[128] = {}, at = 0, address = 0;
    int written = 0, left = 0;

    void begin() {
        const int16_t raw[7] = {2048, -1024, 4096, 0, 1640, -3280, 4920};
        for (int i = 0; i < 7; i++) {
            registers[0x3B + 2 * i] = uint8_t(uint16_t(raw[i]) >> 8);
            registers[0x3C + 2 * i] = uint8_t(raw[i] & 0xFF);
        }
    }
    void setClock(uint32_t) {}
    void beginTransmission(uint8_t to) {
        address = to;
        written = 0;
    }
    size_t write(uint8_t value) {
        if (written++) registers[at++] = value;
        else at = value;
        return 1;
    }
    uint8_t endTransmission(bool = true) { return address == 0x68 ? 0 : 2; }
    // Silent until it is awake and set to 2000 deg/s and 8 g.
    uint8_t requestFrom(int, int count) {
        const bool ready = registers[0x6B] == 1 && registers[0x1B] == 0x18 && registers[0x1C] == 0x10;
        return uint8_t(left = ready ? count : 0);
    }
    int read() { return left-- > 0 ? registers[at++] : -1; }
};
inline TwoWire Wire;
