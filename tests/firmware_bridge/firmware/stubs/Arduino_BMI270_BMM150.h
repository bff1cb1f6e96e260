#pragma once
struct BoschSensorClass {
    int begin() { return 1; }
    int readAcceleration(float &x, float &y, float &z) {
        x = 0.5f;
        y = -0.25f;
        z = 1;
        return 1;
    }
    int readGyroscope(float &x, float &y, float &z) {
        x = 100;
        y = -200;
        z = 300;
        return 1;
    }
};
inline BoschSensorClass IMU;
