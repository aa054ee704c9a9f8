"""A minimal agent in Python: reads psutil's counters at an interval, and discards them."""

import sys
import time

import psutil

while True:
    psutil.cpu_times(percpu=True)
    psutil.virtual_memory()
    psutil.disk_usage("/")
    psutil.disk_io_counters(perdisk=True)
    psutil.net_io_counters(pernic=True)
    psutil.getloadavg()
    print(flush=True)
    time.sleep(float(sys.argv[1]))
