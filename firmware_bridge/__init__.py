"""What talks to hardware: sans-IO codecs of device families, and the stand-ins that speak them.

Codecs need numpy only. They take bytes as they came and give samples in SI units; nothing here opens a port,
a socket or a radio but `firmware_bridge.simulator`.
"""
