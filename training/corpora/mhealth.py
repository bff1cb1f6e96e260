"""MHEALTH: 10 people, 12 activities, chest, left ankle and right wrist at 50 Hz (Banos et al., 2014).

Layout: `mHealth_subject{n}.log`, 24 columns split by tabs: chest acceleration (0-2), two ECG leads, left ankle
acceleration, gyroscope, magnetometer (5-13), right lower arm the same (14-22), label (23; 0 = none).
Accelerations are m/s2. The data set's own page says deg/s for the gyroscopes, and so they are taken.
"""

from __future__ import annotations

ACTIVITIES = (
    "standing still",
    "sitting and relaxing",
    "lying down",
    "walking",
    "climbing stairs",
    "waist bends forward",
    "frontal elevation of arms",
    "knees bending (crouching)",
    "cycling",
    "jogging",
    "running",
    "jump front and back",
)
