// The part of the Arduino API that the sketch uses, with a clock set by `main` of board.cpp; output is printed.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>

namespace stub {
inline uint32_t now_us = 0;
inline bool listened = false;

inline void print(const char *what, const uint8_t *data, size_t size) {
    std::printf("%s ", what);
    for (size_t i = 0; i < size; i++) std::printf("%02x", data[i]);
    std::printf("\n");
}
}  // namespace stub

inline uint32_t micros() { return stub::now_us += 7; }
inline void delay(uint32_t ms) { stub::now_us += 1000 * ms; }

struct SerialPort {
    void begin(unsigned long) {}
    explicit operator bool() const { return true; }
    size_t write(const uint8_t *data, size_t size) {
        stub::print("serial", data, size);
        return size;
    }
};
inline SerialPort Serial;
