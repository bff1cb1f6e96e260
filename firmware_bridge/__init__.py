"""Sans-IO codecs of device families, firmware, and simulated devices.

Codecs need only numpy. They decode received bytes into samples in SI units; only `firmware_bridge.simulator` opens
ports, sockets or radios.
"""
