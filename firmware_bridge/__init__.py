"""What talks to hardware: sans-IO codecs of device families, and the stand-ins that speak them."""
