#pragma once
#include <cstdint>

#define I2C_MODE 0

struct SensorSettings {
    uint16_t gyroRange, gyroSampleRate, accelRange, accelSampleRate;
};

struct LSM6DS3 {
    SensorSettings settings;
    LSM6DS3(uint8_t, uint8_t) : settings() {}
    int begin() { return settings.accelRange == 8 && settings.gyroRange == 2000 ? 0 : 1; }
    float readFloatAccelX() { return 0.5f; }
    float readFloatAccelY() { return -0.25f; }
    float readFloatAccelZ() { return 1; }
    float readFloatGyroX() { return 100; }
    float readFloatGyroY() { return -200; }
    float readFloatGyroZ() { return 300; }
};
