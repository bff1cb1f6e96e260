/* The IMU of a board, in counts of the packet and in the axes of a watch.
 *
 *   Nano 33 BLE Sense         LSM9DS1, library Arduino_LSM9DS1; Rev2: define MUJO_REV2, library Arduino_BMI270_BMM150
 *   XIAO nRF52840 Sense       LSM6DS3, library "Seeed Arduino LSM6DS3"
 *   ESP32                     MPU-6050 on I2C, no library */
#ifndef MUJO_SENSOR_H
#define MUJO_SENSOR_H

#include <Wire.h>

#include "mujo_packet.h"

/* Mounting of the sensor: which of its axes (1 x, 2 y, 3 z, negative for the opposite direction) points to 3 o'clock,
 * to 12 o'clock and out of the display. By default the sensor's own axes are sent. */
static const int8_t AXES[3] = {1, 2, 3};

static inline void map_axes(const int16_t in[6], int16_t out[6]) {
    for (int i = 0; i < 6; i++) {
        const int8_t axis = AXES[i % 3];
        const int16_t value = in[i / 3 * 3 + (axis < 0 ? -axis : axis) - 1];
        out[i] = axis > 0 ? value : value == INT16_MIN ? INT16_MAX : (int16_t)-value;
    }
}

#if defined(ARDUINO_ARCH_ESP32)

/* InvenSense, "MPU-6000 and MPU-6050 Register Map and Descriptions" 4.2: 8 g, 2000 deg/s, 125 Hz, low pass 44 Hz. */
static const uint8_t MPU = 0x68;
static const uint32_t MPU_ACC = MUJO_SCALE_PER_G(4096), MPU_GYRO = MUJO_SCALE_PER_DPS(16.4);

static inline bool mpu_write(uint8_t at, uint8_t value) {
    Wire.beginTransmission(MPU);
    Wire.write(at);
    Wire.write(value);
    return Wire.endTransmission() == 0;
}

static inline bool sensor_begin() {
    Wire.begin();
    Wire.setClock(400000);
    return mpu_write(0x6B, 1)        /* PWR_MGMT_1: awake, clock of the gyroscope */
           && mpu_write(0x19, 7)     /* SMPLRT_DIV: 1000 Hz / 8 */
           && mpu_write(0x1A, 3)     /* CONFIG: low pass 44 Hz */
           && mpu_write(0x1B, 0x18)  /* GYRO_CONFIG: 2000 deg/s */
           && mpu_write(0x1C, 0x10); /* ACCEL_CONFIG: 8 g */
}

static inline bool sensor_read(int16_t counts[6]) {
    int16_t raw[7], own[6];
    Wire.beginTransmission(MPU);
    Wire.write((uint8_t)0x3B); /* ACCEL_XOUT_H: acceleration, temperature, angular rate; big endian */
    if (Wire.endTransmission(false) != 0 || Wire.requestFrom((int)MPU, 14) != 14) return false;
    for (int i = 0; i < 7; i++) {
        const uint16_t high = (uint16_t)Wire.read();
        raw[i] = (int16_t)(uint16_t)(high << 8 | (uint16_t)Wire.read());
    }
    for (int i = 0; i < 3; i++) {
        own[i] = mujo_from_raw(raw[i], MPU_ACC);
        own[3 + i] = mujo_from_raw(raw[4 + i], MPU_GYRO);
    }
    map_axes(own, counts);
    return true;
}

#else

/* Convert g and deg/s, the units of these libraries. */
static inline void sensor_counts(const float g[3], const float dps[3], int16_t counts[6]) {
    int16_t own[6];
    for (int i = 0; i < 3; i++) {
        own[i] = mujo_acceleration(g[i] * (float)MUJO_G);
        own[3 + i] = mujo_angular_rate(dps[i] * (float)MUJO_DEGREE);
    }
    map_axes(own, counts);
}

#if defined(ARDUINO_Seeed_XIAO_nRF52840_Sense) || defined(ARDUINO_SEEED_XIAO_NRF52840_SENSE)

#include <LSM6DS3.h>

static LSM6DS3 imu(I2C_MODE, 0x6A);

static inline bool sensor_begin() {
    imu.settings.accelRange = 8;
    imu.settings.accelSampleRate = 208;
    imu.settings.gyroRange = 2000;
    imu.settings.gyroSampleRate = 208;
    return imu.begin() == 0;
}

static inline bool sensor_read(int16_t counts[6]) {
    const float g[3] = {imu.readFloatAccelX(), imu.readFloatAccelY(), imu.readFloatAccelZ()};
    const float dps[3] = {imu.readFloatGyroX(), imu.readFloatGyroY(), imu.readFloatGyroZ()};
    sensor_counts(g, dps, counts);
    return true;
}

#else

#if defined(MUJO_REV2)
#include <Arduino_BMI270_BMM150.h>
#else
#include <Arduino_LSM9DS1.h> /* 4 g, 2000 deg/s, 119 Hz */
#endif

static inline bool sensor_begin() { return IMU.begin() != 0; }

static inline bool sensor_read(int16_t counts[6]) {
    float g[3], dps[3];
    if (!IMU.readAcceleration(g[0], g[1], g[2]) || !IMU.readGyroscope(dps[0], dps[1], dps[2])) return false;
    sensor_counts(g, dps, counts);
    return true;
}

#endif
#endif
#endif
